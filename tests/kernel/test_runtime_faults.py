"""Shim, logger and agent are killed between any two system calls of a start, an entry and a removal.

Whatever the moment: containers go on, whoever comes back finds them, the retry works, and nothing is left.
The steps are counted from outside (tests/support/faulty_shim.py); no code of the shim knows of the faults.
"""

# ruff: noqa: ASYNC220, ASYNC240  /proc and small files do not block

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import freshness, packets, spawn
from agent.runtime.channel import Disconnected
from agent.runtime.container import Launch, LaunchFailed, Running
from cli.dev import sweep
from tests.kernel.conftest import Bench
from tests.support import leftovers

pytestmark = pytest.mark.root

_CODE = str(Path(__file__).parents[2])
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from tests.support import faulty_shim; faulty_shim.main()"
)
_RECORD_BYTES = 1 << 16
_OF_THE_ANSWER = 6
"""Steps at the end that come after the start, or may not come."""
_PARTS = 4
"""A part of the steps is a test of its own: no single one takes long."""


_AN_AGENT = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
sys.stdin.readline()
from pathlib import Path
from agent.runtime import client, spec
from agent.runtime.container import Launch

async def main():
    directory, layer, group = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    runtime = await client.Runtime.open(
        run_dir=directory / "run", state_dir=directory / "state", cgroup_root=group, on_exit=lambda _: None
    )
    config = spec.config(["sh", "-c", "echo said; exec sleep 60"])
    await runtime.launch(Launch("retried", "box", config, (layer,), str(directory / "logs")))
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def _start_faulty(bench: Bench, fault: str) -> subprocess.Popen[bytes]:
    run, state = bench.directory / "run", bench.directory / "state"
    for directory in (run, state):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (run / "code").write_text(freshness.stamp())  # or it would be replaced by one without a fault
    listener = packets.listen(str(run / "shim.sock"))
    try:
        return subprocess.Popen(
            [
                *(spawn.interpreter(), "-I", "-S", "-c", _BOOT, _CODE, "orch-shim"),
                *(str(run), str(state), bench.cgroup_root, str(listener.fileno())),
            ],
            pass_fds=(listener.fileno(),),
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "ORCH_FAULT": fault},
            start_new_session=True,
        )
    finally:
        listener.close()


def _start_logger(bench: Bench) -> subprocess.Popen[bytes]:
    run, state = bench.directory / "run", bench.directory / "state"
    for directory in (run, state):
        directory.mkdir(mode=0o700, parents=True)
    arguments = [str(run), str(state), bench.cgroup_root]
    return spawn.helper("logger", "orch-log", run / "log.sock", state / "helpers.log", arguments)


@contextlib.asynccontextmanager
async def faulty(
    directory: Path, layer: Path, fault: str, *, victim: str = "shim", is_certain: bool = True
) -> AsyncIterator[Bench]:
    """A runtime whose shim has a fault; what it leaves behind is an error.

    Not certain is a step of work whose length differs from time to time.
    """
    bench = Bench(directory, layer)
    directory.mkdir()
    others: list[subprocess.Popen[bytes]] = []
    if victim == "log":
        others.append(_start_logger(bench))
    elif victim == "agent":
        arguments = [_AN_AGENT, _CODE, str(directory), str(layer), bench.cgroup_root]
        others.append(subprocess.Popen([sys.executable, "-c", *arguments], stdin=subprocess.PIPE))
    shim = _start_faulty(bench, f"{fault}:{others[0].pid if others else 0}" if victim else fault)
    try:
        if victim == "agent":
            await asyncio.to_thread(others[0].communicate, b"go\n", 20 * Bench.patience)
        await bench.open()
        yield bench
        await bench.runtime.shutdown()
    finally:
        for process in (shim, *others):
            await asyncio.to_thread(process.wait, 20 * Bench.patience)
        left = leftovers.take_away(directory, bench.cgroup_root)
        sweep.remove_empty_cgroup(bench.cgroup_root.partition("/")[0])
    assert left == []
    assert not list((directory / "state" / "roots").iterdir())
    assert not [*Path("/sys/fs/cgroup").glob(f"*/{bench.cgroup_root}"), *bench.groups()]
    if not is_certain:
        return
    killed = {"": [0], "shim": [-signal.SIGKILL]}.get(victim, [0, -signal.SIGKILL])
    assert [process.returncode for process in (shim, *others)] == killed, "nobody was killed, or too many"


async def _steps(tmp_path: Path, layer: Path, begin: str, act: Any) -> list[str]:
    tmp_path.mkdir(exist_ok=True)
    record = tmp_path / "steps"
    record.write_bytes(bytes(_RECORD_BYTES))
    fault = f"{begin}:record:{record}"
    async with faulty(tmp_path / "record", layer, fault, victim="") as bench:
        await act(bench)
        return record.read_bytes().rstrip(b"\0").decode().split()


def _worth_it(steps: list[str], most: int) -> list[int]:
    """First and last of each run of equal steps, evenly thinned out; counted from 1."""
    ends = [
        number
        for number, step in enumerate(steps, 1)
        if steps[number - 2 : number - 1] != [step] or steps[number : number + 1] != [step]
    ]
    most = min(most, len(ends))
    return [ends[place * (len(ends) - 1) // max(most - 1, 1)] for place in range(most)]


async def _start(bench: Bench) -> Running:
    running: Running = await bench.runtime.launch(_launch(bench))
    return running


def _launch(bench: Bench) -> Launch:
    return bench.launch_of("sh", "-c", "echo said; exec sleep 60", name="retried")


async def _assert_it_runs_once(bench: Bench, running: Running) -> None:
    assert await bench.runtime.containers() == {"retried": running}
    groups = {group for group in bench.groups() if group.endswith("retried")}
    pids = {pid for group in groups for pid in Path(group, "cgroup.procs").read_text().split()}
    assert pids == {str(running.pid)}
    assert len(list((bench.directory / "run" / "containers").iterdir())) == 1
    assert os.listdir(bench.directory / "state" / "roots") == ["retried"]  # noqa: PTH208
    await bench.heard("retried", "said")


async def _enter(bench: Bench) -> None:
    entered = await bench.runtime.enter((await _start(bench)).container, args=["true"])
    await entered.wait()


async def _remove(bench: Bench) -> None:
    await _start(bench)
    await bench.runtime.remove("retried")


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("begin", ["starts.launch", "init.become"])
async def test_a_shim_killed_at_any_step_of_a_start_leaves_nothing_and_the_retry_works(
    tmp_path: Path, busybox: Path, begin: str, part: int
) -> None:
    steps = await _steps(tmp_path, busybox, begin, _start)
    for step in _worth_it(steps, 24)[part::_PARTS]:
        async with faulty(tmp_path / f"{step}", busybox, f"{begin}:{step}") as bench:
            running = await asyncio.wait_for(_start(bench), 20 * bench.patience)
            with _at(begin, step, steps):
                await _assert_it_runs_once(bench, running)


@pytest.mark.parametrize("begin", ["starts.launch", "init.become"])
async def test_a_logger_killed_at_any_step_of_a_start_delays_nothing_and_loses_nothing(
    tmp_path: Path, busybox: Path, begin: str
) -> None:
    steps = await _steps(tmp_path, busybox, begin, _start)
    for step in _worth_it(steps[:-_OF_THE_ANSWER], 6):
        fault = f"{begin}:{step}"
        async with faulty(tmp_path / f"{step}", busybox, fault, victim="log") as bench:
            running = await asyncio.wait_for(_start(bench), 20 * bench.patience)
            with _at(begin, step, steps):
                await _assert_it_runs_once(bench, running)


@pytest.mark.parametrize("begin", ["starts.launch", "init.become"])
async def test_an_agent_killed_at_any_step_of_a_start_finds_what_it_had_asked_for(
    tmp_path: Path, busybox: Path, begin: str
) -> None:
    steps = await _steps(tmp_path, busybox, begin, _start)
    for step in _worth_it(steps[:-_OF_THE_ANSWER], 6):
        fault = f"{begin}:{step}"
        async with faulty(tmp_path / f"{step}", busybox, fault, victim="agent") as bench:
            known = await bench.runtime.containers()
            with _at(begin, step, steps):
                assert list(known) == ["retried"]
                assert isinstance(known["retried"], Running)
                await _assert_it_runs_once(bench, known["retried"])


@pytest.mark.parametrize("begin", ["visitors.enter", "enter.become"])
async def test_a_shim_killed_at_any_step_of_an_entry_leaves_the_container_as_it_is(
    tmp_path: Path, busybox: Path, begin: str
) -> None:
    steps = await _steps(tmp_path, busybox, begin, _enter)
    for step in _worth_it(steps, 10):
        fault = f"{begin}:{step}"
        async with faulty(tmp_path / f"{step}", busybox, fault) as bench:
            running = await _start(bench)
            with contextlib.suppress(LaunchFailed, Disconnected):
                entered = await bench.runtime.enter("retried", args=["sleep", "0"])
                assert await entered.wait() in {0, None}
            with _at(begin, step, steps):
                await _until_it_runs_once(bench, running)
            assert await (await bench.runtime.enter("retried", args=["true"])).wait() == 0


async def test_a_shim_killed_at_any_step_of_a_removal_leaves_nothing(tmp_path: Path, busybox: Path) -> None:
    steps = await _steps(tmp_path, busybox, "removals.remove", _remove)
    for step in _worth_it(steps, 16):
        fault = f"removals.remove:{step}"
        async with faulty(tmp_path / f"{step}", busybox, fault, is_certain=False) as bench:
            await asyncio.wait_for(_remove(bench), 20 * bench.patience)
            with _at("removals.remove", step, steps):
                assert await bench.runtime.containers() == {}
                assert [group for group in bench.groups() if group.endswith("retried")] == []
                await bench.runtime.remove_sandbox("box")


@contextlib.contextmanager
def _at(begin: str, step: int, steps: list[str]) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"killed at step {step} of {begin}, {steps[step - 1]}: {error}") from error


async def _until_it_runs_once(bench: Bench, running: Running) -> None:
    """A second process that was being born ends when it finds nobody to speak to; that takes a moment."""
    deadline = asyncio.get_running_loop().time() + 10 * bench.patience
    while True:
        try:
            return await _assert_it_runs_once(bench, running)
        except AssertionError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.01)
