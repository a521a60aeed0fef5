"""Hooks run in their order, in the namespaces that the specification says, and a failure ends the start."""

# ruff: noqa: PTH115  /proc does not block

import asyncio
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.container import Launch, LaunchFailed

pytestmark = pytest.mark.root

_TOLD = """
state=$(cat)
namespaces=$(readlink /proc/self/ns/mnt /proc/self/ns/pid /proc/self/ns/uts | tr '\\n' ' ')
echo "$1|$state|$namespaces|$(test -e {layer}/bin/busybox && echo outside)|$COLOUR" >> {log}
"""


def a_hook(script: str, *args: str, timeout: int | None = None) -> dict[str, Any]:
    words = ["sh", "-c", script, "hook", *args]
    hook = {"path": "/bin/sh", "args": words, "env": ["PATH=/usr/bin:/bin", "COLOUR=green"]}
    return hook if timeout is None else {**hook, "timeout": timeout}


def launch_with(
    bench: Any, hooks: dict[str, Any], *args: str, name: str = "hooked", **options: Any
) -> Launch:
    launch: Launch = bench.launch_of(*args, name=name, **options)
    config = {**launch.config, "hooks": hooks, "annotations": {"colour": 'a "quoted" ü'}}
    return dataclasses.replace(launch, config=config)


async def test_every_hook_is_told_the_state_in_its_own_place_and_order(bench: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = _TOLD.format(layer=bench.layer, log=log)
    outside = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    hooks = {kind: [a_hook(script, kind)] for kind in outside}
    hooks["startContainer"] = [
        {"path": "/bin/sh", "args": ["sh", "-c", "cat > /told; ls -l /proc/self/ns/mnt >> /told"]}
    ]
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "pid", "uts")]

    running = await bench.runtime.launch(launch_with(bench, hooks, "sh", "-c", "cat /told; sleep 60"))
    await bench.heard("hooked", "mnt")
    theirs = [os.readlink(f"/proc/{running.pid}/ns/{kind}") for kind in ("mnt", "pid", "uts")]
    await bench.runtime.remove("hooked")

    lines = [line.split("|") for line in log.read_text().splitlines()]
    assert [line[0] for line in lines] == list(outside)
    states = [json.loads(line[1]) for line in lines]
    assert [state["status"] for state in states] == ["creating", "creating", "creating", "running", "stopped"]
    assert [state["pid"] for state in states] == [*[running.pid] * 4, 0]
    assert {state["annotations"]["colour"] for state in states} == {'a "quoted" ü'}
    assert {state["id"] for state in states} == {"hooked"}
    spaces = {line[0]: line[2].split() for line in lines}
    assert spaces["createContainer"] == theirs
    assert all(spaces[kind] == ours for kind in outside if kind != "createContainer")
    assert all(line[3:] == ["outside", "green"] for line in lines)


async def test_start_container_runs_inside_before_the_payload(bench: Any) -> None:
    hooks = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/told"]}]}

    await bench.runtime.launch(launch_with(bench, hooks, "cat", "/tmp/told"))

    state = json.loads(await bench.said("hooked"))
    assert (state["status"], state["id"]) == ("created", "hooked")


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
async def test_a_hook_that_fails_fails_the_start_says_what_it_said_and_leaves_nothing(
    bench: Any, tmp_path: Path, kind: str
) -> None:
    stopped = tmp_path / "stopped"
    hooks = {kind: [a_hook("echo no room; exit 3")], "poststop": [a_hook(f"touch {stopped}")]}

    with pytest.raises(LaunchFailed) as failed:
        await bench.runtime.launch(launch_with(bench, hooks, "sleep", "60"))

    assert failed.value.step == "hook"
    assert failed.value.message == f"{kind} hook /bin/sh: exited with 3; it said: no room"
    assert await bench.runtime.containers() == {}
    assert bench.groups() == []
    assert stopped.exists()


async def test_a_hook_that_takes_too_long_is_killed_and_a_slow_one_delays_nobody_else(bench: Any) -> None:
    slow = launch_with(bench, {"createRuntime": [a_hook("sleep 60", timeout=1)]}, "true")
    start = asyncio.create_task(bench.runtime.launch(slow))

    exited, _ = await bench.run("exit 4")
    assert exited.exit_code == 4
    assert not start.done()
    with pytest.raises(LaunchFailed, match="took longer than its timeout of 1 s"):
        await start


async def test_a_hook_after_the_start_that_fails_stops_nobody(bench: Any, tmp_path: Path) -> None:
    second = tmp_path / "second"
    hooks = {"poststart": [a_hook("exit 1"), a_hook(f"touch {second}")]}

    running = await bench.runtime.launch(launch_with(bench, hooks, "sleep", "60"))

    assert second.exists()
    assert await bench.runtime.containers() == {"hooked": running}


async def test_a_hook_that_is_not_there_is_a_sentence(bench: Any) -> None:
    hooks = {"createRuntime": [{"path": "/no/such/hook"}]}

    with pytest.raises(LaunchFailed, match=r"createRuntime hook /no/such/hook: .* No such file"):
        await bench.runtime.launch(launch_with(bench, hooks, "true"))
