"""Namespaces of every kind: new, joined by path, or the node's own; and what is set inside them."""

# ruff: noqa: ASYNC240, PTH115  /proc, /sys and small files do not block

import asyncio
import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.container import Launch, LaunchFailed

pytestmark = pytest.mark.root

_FILES = {
    "pid": "pid",
    "network": "net",
    "uts": "uts",
    "ipc": "ipc",
    "cgroup": "cgroup",
    "time": "time",
    "mount": "mnt",
}


def launch_in(bench: Any, spaces: list[dict[str, Any]], *args: str, name: str = "", **linux: Any) -> Launch:
    launch: Launch = bench.launch_of(*args, name=name)
    config = dict(launch.config)
    config["linux"] = {**config["linux"], **linux, "namespaces": spaces}
    return dataclasses.replace(launch, config=config)


def new(*kinds: str) -> list[dict[str, Any]]:
    return [{"type": kind} for kind in kinds]


async def said_by(bench: Any, launch: Launch) -> str:
    await bench.runtime.launch(launch)
    await asyncio.wait_for(bench.runtime.wait(launch.container), 10 * bench.patience)
    said: str = await bench.said(launch.container)
    return said


@pytest.mark.parametrize("kind", ["pid", "network", "uts", "ipc", "cgroup", "time"])
async def test_a_namespace_of_each_kind_is_joined_by_its_path(bench: Any, kind: str) -> None:
    every = ["mount", "pid", "network", "uts", "ipc", "cgroup", "time"]
    first = await bench.runtime.launch(launch_in(bench, new(*every), "sleep", "60"))
    spaces = [*new(*(one for one in every if one != kind))]
    spaces.append({"type": kind, "path": f"/proc/{first.pid}/ns/{_FILES[kind]}"})

    second = await bench.runtime.launch(launch_in(bench, spaces, "sleep", "60"))

    shared = [one for one in every if _space(first.pid, one) == _space(second.pid, one)]
    assert shared == [kind]
    assert _space(os.getpid(), kind) != _space(second.pid, kind)


@pytest.mark.parametrize("kind", ["pid", "network", "uts", "ipc", "cgroup", "time"])
async def test_a_kind_that_is_not_named_is_the_nodes_own(bench: Any, kind: str) -> None:
    every = ["mount", "pid", "network", "uts", "ipc", "cgroup", "time"]
    spaces = new(*(one for one in every if one != kind))

    running = await bench.runtime.launch(launch_in(bench, spaces, "sleep", "60"))

    shared = [one for one in every if _space(os.getpid(), one) == _space(running.pid, one)]
    assert shared == [kind]
    reader, writer = os.pipe()
    entered = await bench.runtime.enter(running.container, args=["echo", "in"], stdout=writer)
    os.close(writer)
    assert await entered.wait() == 0
    assert os.read(reader, 10) == b"in\n"
    os.close(reader)


async def test_two_containers_of_one_pid_namespace_see_each_other_and_end_apart(bench: Any) -> None:
    first = await bench.runtime.launch(launch_in(bench, new("mount", "pid"), "sleep", "1111"))
    spaces = [*new("mount"), {"type": "pid", "path": f"/proc/{first.pid}/ns/pid"}]
    said = await said_by(bench, launch_in(bench, spaces, "ps", "-o", "args"))

    assert "sleep 1111" in said
    assert await bench.runtime.containers()
    second = await bench.runtime.launch(launch_in(bench, spaces, "sleep", "60"))
    await bench.runtime.remove(second.container)
    assert (await bench.runtime.containers())[first.container] == first


async def test_no_start_moves_the_first_process_of_another_pid_namespace(bench: Any) -> None:
    ours = Path("/proc/1/cgroup").read_text()
    first = await bench.runtime.launch(launch_in(bench, new("mount", "pid"), "sleep", "60"))
    its = Path(f"/proc/{first.pid}/cgroup").read_text()

    await bench.runtime.launch(launch_in(bench, new("mount"), "sleep", "60"))
    joined = [*new("mount"), {"type": "pid", "path": f"/proc/{first.pid}/ns/pid"}]
    await bench.runtime.launch(launch_in(bench, joined, "sleep", "60"))

    assert Path("/proc/1/cgroup").read_text() == ours
    assert Path(f"/proc/{first.pid}/cgroup").read_text() == its


async def test_what_a_container_without_a_pid_namespace_leaves_behind_is_killed_and_no_zombie(
    bench: Any,
) -> None:
    script = "for i in 1 2 3; do ( setsid sleep 1111 & ); done; echo made; exit 0"
    launch = launch_in(bench, new("mount"), "sh", "-c", script, name="leaver")
    assert await said_by(bench, launch) == "made"
    shim = bench.helper("shim")
    assert len(_children(shim)) >= 3

    await bench.runtime.remove("leaver")

    assert _children(shim) == []


async def test_clocks_may_be_moved_in_a_time_namespace(bench: Any) -> None:
    offsets = {"boottime": {"secs": 100_000_000}, "monotonic": {"secs": 5, "nanosecs": 7}}
    launch = launch_in(bench, new("mount", "pid", "time"), "cat", "/proc/uptime", timeOffsets=offsets)

    assert float((await said_by(bench, launch)).split()[0]) > 100_000_000


async def test_settings_of_the_kernel_are_made_in_the_containers_own_namespaces(bench: Any) -> None:
    ours = Path("/proc/sys/kernel/msgmax").read_text()
    settings = {"net.ipv4.ip_unprivileged_port_start": "7", "kernel.msgmax": "4444", "fs/mqueue/msg_max": "5"}
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max"
    launch = launch_in(bench, new("mount", "pid", "network", "ipc"), "sh", "-c", script, sysctl=settings)

    assert (await said_by(bench, launch)).split() == ["7", "4444", "5"]
    assert Path("/proc/sys/kernel/msgmax").read_text() == ours


@pytest.mark.parametrize("key", ["kernel.panic", "vm.swappiness", "net.ipv4.ip_forward", "kernel.shmmax"])
async def test_a_setting_that_would_be_the_nodes_is_refused(bench: Any, key: str) -> None:
    launch = launch_in(bench, new("mount", "pid"), "true", sysctl={key: "1"})

    with pytest.raises(LaunchFailed, match=f"{key} .*it would change the host"):
        await bench.runtime.launch(launch)


async def test_a_namespace_that_is_not_there_is_a_sentence(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "no-namespace").write_text("")
    for kind, file in (("pid", "no-namespace"), ("uts", "no-namespace"), ("ipc", "nothing")):
        spaces = [*new("mount"), {"type": kind, "path": str(tmp_path / file)}]

        with pytest.raises(
            LaunchFailed, match=f"{kind}: join {tmp_path / file}: .*{kind} namespace must be there"
        ):
            await bench.runtime.launch(launch_in(bench, spaces, "true"))
    exited, _ = await bench.run("exit 3")  # the shim has come home from where it could not go
    assert exited.exit_code == 3


def _space(pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{_FILES[kind]}")


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
