"""The shim on its rare paths: what fails leaves nothing open in it, what is left to it is taken care of."""

# ruff: noqa: ASYNC221, ASYNC240, PTH208  /proc, small files and mount do not block

import asyncio
import dataclasses
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.container import Launch, LaunchFailed

pytestmark = pytest.mark.root


def _launch(bench: Any, edit: Callable[[dict[str, Any]], object], *args: str, name: str = "") -> Launch:
    launch: Launch = bench.launch_of(*args, name=name)
    config: dict[str, Any] = {**launch.config, "linux": {**launch.config["linux"]}}
    config["mounts"] = [*config["mounts"]]
    edit(config)
    return dataclasses.replace(launch, config=config)


def _without_a_pid_namespace(config: dict[str, Any]) -> None:
    config["linux"]["namespaces"] = [{"type": "mount"}]


def _with_a_pid_namespace_that_is_none(config: dict[str, Any]) -> None:
    namespaces = [one for one in config["linux"]["namespaces"] if one["type"] != "pid"]
    config["linux"]["namespaces"] = [*namespaces, {"type": "pid", "path": "/proc/self/ns/uts"}]


def _with_owners_that_no_kernel_takes(config: dict[str, Any]) -> None:
    """The second namespace cannot be made; the first one was."""
    good = [{"containerID": 0, "hostID": 100_000, "size": 10}]
    bad = [
        {"containerID": 2 * n, "hostID": 3_000_000_000 + 2 * n, "size": 1} for n in range(300)
    ]  # over a page
    for number, ids in enumerate((good, bad)):
        config["mounts"].append(
            {
                "type": "bind",
                "source": "/",
                "destination": f"/{number}",
                "options": ["bind"],
                "uidMappings": ids,
                "gidMappings": ids,
            }
        )


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_with_a_pid_namespace_that_is_none, "join /proc/self/ns/uts: .*must be there before the start"),
        (_with_owners_that_no_kernel_takes, "map the ids"),
    ],
)
async def test_a_start_that_fails_before_there_is_a_process_leaves_nothing_open(
    bench: Any, edit: Callable[[dict[str, Any]], object], words: str
) -> None:
    files = Path(f"/proc/{bench.helper('shim')}/fd")
    with pytest.raises(LaunchFailed, match=words):
        await bench.runtime.launch(_launch(bench, edit, "true"))
    before = len(os.listdir(files))

    for _ in range(5):
        with pytest.raises(LaunchFailed, match=words):
            await bench.runtime.launch(_launch(bench, edit, "true"))

    assert len(os.listdir(files)) == before


async def test_a_second_process_for_who_has_just_ended_is_refused_with_that_word(bench: Any) -> None:
    running = await bench.launch("sleep", "1000")
    os.kill(
        bench.helper("shim"), signal.SIGKILL
    )  # nobody's zombie is left of the child of a shim that is gone
    await bench.runtime.containers()
    shim = bench.helper("shim")
    os.kill(shim, signal.SIGSTOP)
    try:
        entering = asyncio.create_task(bench.runtime.enter(running.container, args=["true"]))
        for _ in range(5):
            await asyncio.sleep(0)  # the question is on its way before the end is
        os.kill(running.pid, signal.SIGKILL)
        async with asyncio.timeout(10 * bench.patience):
            while Path(f"/proc/{running.pid}").exists():  # noqa: ASYNC110  no event says it
                await asyncio.sleep(0.01)
    finally:
        os.kill(shim, signal.SIGCONT)

    with pytest.raises(LaunchFailed) as refused:
        await entering
    assert refused.value.message.startswith(f"join /proc/{running.pid}/ns/pid: no such file")
    assert refused.value.message.endswith(f"{running.container} may have just ended")


async def test_orphans_of_a_container_on_the_nodes_own_pids_are_reaped_while_it_runs(bench: Any) -> None:
    """Its pids limit counts zombies too: a service that leaves daemons behind would choke one day."""
    script = "for i in 1 2 3 4; do ( setsid sh -c 'echo one' & ); done; echo made; exec sleep 1000"
    running = await bench.runtime.launch(_launch(bench, _without_a_pid_namespace, "sh", "-c", script))
    await bench.heard(running.container, "made")
    shim = bench.helper("shim")

    async with asyncio.timeout(10 * bench.patience):
        while _children(shim) != {running.pid}:  # noqa: ASYNC110  no event says it
            await asyncio.sleep(0.01)


async def test_an_end_that_cannot_be_written_down_is_told_all_the_same(bench: Any) -> None:
    await bench.runtime.shutdown()
    journal = bench.directory / "run" / "containers"
    journal.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=100", "tmpfs", journal], check=True)
    try:
        await bench.open()
        running = await bench.launch("sh", "-c", "read end; exit 7", terminal=True)
        used = os.statvfs(journal).f_files - os.statvfs(journal).f_ffree
        subprocess.run(["mount", "-o", f"remount,nr_inodes={used}", journal], check=True)
        shim = bench.helper("shim")
        terminal = await bench.runtime.terminal(running.container)
        os.write(terminal, b"\n")
        os.close(terminal)

        ended = await asyncio.wait_for(bench.runtime.wait(running.container), 10 * bench.patience)

        assert ended.exit_code == 7
        assert [one.exit_code for one in bench.exits] == [7]
        assert bench.helper("shim") == shim
        await bench.runtime.remove(running.container)
    finally:
        subprocess.run(["umount", "-l", journal], check=True)


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
