"""Agent, shim and logger are killed; containers go on, and whoever comes back knows everything."""

# ruff: noqa: ASYNC240, ASYNC110  /proc, /sys and small files do not block

import asyncio
import os
import platform
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import channel, journal
from agent.runtime.container import LaunchFailed, Running

pytestmark = pytest.mark.root

_ALIVE_AND_COUNTING = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.002; done"

_AN_AGENT = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from agent.runtime import client, spec
from agent.runtime.container import Launch

async def main():
    directory, layer, group = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    runtime = await client.Runtime.open(
        run_dir=directory / "run", state_dir=directory / "state", cgroup_root=group, on_exit=lambda _: None
    )
    config = spec.config(["sh", "-c", sys.argv[5]])
    running = await runtime.launch(Launch("kept", "box", config, (layer,), str(directory / "logs")))
    print(running.pid, running.start_time, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_containers_outlive_the_agent_that_started_them(bench: Any) -> None:
    await bench.runtime.shutdown()
    code = str(Path(journal.__file__).parents[2])
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _AN_AGENT, code, str(bench.directory), str(bench.layer), bench.cgroup_root),
        *("trap 'exit 42' USR1; echo up; while true; do sleep 0.01; done",),
        stdout=asyncio.subprocess.PIPE,
    )
    assert agent.stdout
    pid, start_time = map(int, (await asyncio.wait_for(agent.stdout.readline(), 10 * bench.patience)).split())
    agent.kill()
    await agent.wait()
    await bench.heard("kept", "up")
    ended = _end_of(pid)
    os.kill(pid, signal.SIGUSR1)
    await asyncio.wait_for(ended, 5 * bench.patience)

    await bench.open()

    known = await bench.runtime.containers()
    assert (known["kept"].pid, known["kept"].exit_code) == (pid, 42)
    assert [exited.exit_code for exited in bench.exits] == [42]
    assert start_time > 0


async def test_an_exit_is_told_to_the_next_agent_unless_acknowledged(bench: Any) -> None:
    exited, _ = await bench.run("exit 5")
    await asyncio.wait_for(_acknowledged(bench, "c0"), 5 * bench.patience)
    await bench.runtime.close()
    bench.exits.clear()

    await bench.open()

    assert bench.exits == []
    assert (await bench.runtime.containers())["c0"] == exited


async def test_containers_outlive_the_shim_and_their_exit_codes_are_exact(bench: Any) -> None:
    before = [await bench.launch("sh", "-c", "trap 'exit 42' USR1; echo up; while true; do sleep 0.01; done")]
    before.append(await bench.launch("sleep", "60"))
    await bench.heard("c0", "up")

    await _kill_helper(bench, "shim")

    assert await bench.runtime.containers() == {one.container: one for one in before}
    await bench.runtime.signal("c0", signal.SIGUSR1)
    await bench.runtime.signal("c1", signal.SIGKILL)
    first, second = await asyncio.wait_for(
        asyncio.gather(bench.runtime.wait("c0"), bench.runtime.wait("c1")), 10 * bench.patience
    )
    assert (first.exit_code, first.signal) in _told_of_strangers((42, None))
    assert (second.exit_code, second.signal) in _told_of_strangers((None, signal.SIGKILL))


async def test_a_shim_that_could_not_be_started_is_tried_again_without_being_asked(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running = await bench.launch("sleep", "1000")
    errors = bench.directory / "state" / "helpers.log"
    errors.unlink()
    errors.mkdir()

    os.kill(bench.helper("shim"), signal.SIGKILL)
    async with asyncio.timeout(10 * bench.patience):
        while "cannot be started" not in caplog.text:
            await asyncio.sleep(0.01)
    errors.rmdir()
    os.kill(running.pid, signal.SIGKILL)

    async with asyncio.timeout(20 * bench.patience):
        while not bench.exits:
            await asyncio.sleep(0.01)
    assert [exited.container for exited in bench.exits] == [running.container]


async def test_an_exit_while_the_shim_is_away_is_known_by_the_logger(bench: Any) -> None:
    running = await bench.launch("sh", "-c", "trap 'exit 42' USR1; echo up; while true; do sleep 0.01; done")
    await bench.heard(running.container, "up")
    await bench.runtime.close()
    shim = bench.helper("shim")
    gone = _end_of(shim)
    os.kill(shim, signal.SIGKILL)
    await gone
    ended = _end_of(running.pid)
    os.kill(running.pid, signal.SIGUSR1)
    await ended
    await bench.said(running.container)

    await bench.open()

    known = (await bench.runtime.containers())[running.container]
    assert (known.exit_code, known.signal) in _told_of_strangers((42, None))
    assert [exited.exit_code for exited in bench.exits] == [known.exit_code]


async def test_logs_go_on_after_the_logger_is_killed(bench: Any) -> None:
    running = await bench.launch("sh", "-c", _ALIVE_AND_COUNTING)
    await bench.heard(running.container, "20")

    await _kill_helper(bench, "log")
    await bench.heard(running.container, "150")
    await bench.runtime.kill(running.container)

    said = (await bench.said(running.container)).split()
    assert said == [str(number) for number in range(1, len(said) + 1)]


async def test_what_is_said_while_the_logger_is_away_is_written_when_it_is_back(bench: Any) -> None:
    log = bench.helper("log")
    os.kill(log, signal.SIGSTOP)  # away, and nobody notices
    await bench.launch("echo", "last words", name="short")
    await bench.runtime.wait("short")

    os.kill(log, signal.SIGKILL)

    assert await asyncio.wait_for(bench.said("short"), 10 * bench.patience) == "last words"


async def test_a_shim_upgrades_in_place(bench: Any) -> None:
    running = await bench.launch("sh", "-c", "trap 'exit 42' USR1; echo up; while true; do sleep 0.01; done")
    await bench.heard(running.container, "up")
    shim = bench.helper("shim")

    await bench.runtime.upgrade()

    assert bench.helper("shim") == shim
    assert (await bench.runtime.containers())[running.container] == running
    await bench.runtime.signal(running.container, signal.SIGUSR1)
    assert (await asyncio.wait_for(bench.runtime.wait(running.container), 5 * bench.patience)).exit_code == 42


async def test_an_upgraded_agent_renews_shim_and_logger_and_containers_do_not_notice(bench: Any) -> None:
    running = await bench.launch("sh", "-c", _ALIVE_AND_COUNTING)
    await bench.heard(running.container, "20")
    shim, logger = bench.helper("shim"), bench.helper("log")
    become_another = asyncio.get_running_loop().create_future()
    watched = channel.Channel(
        bench.directory / "run" / "shim.sock", _ignore, lambda: become_another.set_result(None)
    )
    await watched.ask(op="list")
    (bench.directory / "run" / "code").write_text("older")

    await bench.runtime.close()
    await bench.open()

    await asyncio.wait_for(become_another, 10 * bench.patience)  # what it was has hung up
    assert bench.helper("shim") == shim
    assert (await bench.runtime.containers())[running.container] == running
    await bench.heard(running.container, "150")
    await bench.runtime.kill(running.container)
    said = (await bench.said(running.container)).split()
    assert said == [str(number) for number in range(1, len(said) + 1)]
    assert bench.helper("log") != logger
    watched.close()


async def test_an_agent_that_only_starts_again_leaves_shim_and_logger_alone(bench: Any) -> None:
    running = await bench.launch("sleep", "60")
    shim, logger = bench.helper("shim"), bench.helper("log")
    hung_up: list[None] = []
    watched = channel.Channel(bench.directory / "run" / "shim.sock", _ignore, lambda: hung_up.append(None))

    await bench.runtime.close()
    await bench.open()

    assert await watched.ask(op="list")
    assert (bench.helper("shim"), bench.helper("log"), hung_up) == (shim, logger, [])
    assert (await bench.runtime.containers())[running.container] == running
    watched.close()


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 3, 4, 6, 8, 12])
async def test_a_shim_killed_within_a_start_leaves_nothing_and_the_retry_works(
    bench: Any, milliseconds: int
) -> None:
    shim = bench.helper("shim")
    start = asyncio.create_task(bench.launch("sleep", "60", name="retried"))
    await asyncio.sleep(milliseconds / 1000)
    os.kill(shim, signal.SIGKILL)

    running = await asyncio.wait_for(start, 20 * bench.patience)

    assert isinstance(running, Running)
    assert (await bench.runtime.containers())["retried"] == running
    groups = {group for group in bench.groups() if group.endswith("retried")}
    pids = {pid for group in groups for pid in Path(group, "cgroup.procs").read_text().split()}
    assert pids == {str(running.pid)}
    assert len(list((bench.directory / "run" / "containers").iterdir())) == 1


async def test_after_a_reboot_nothing_stale_runs(bench: Any) -> None:
    running = await bench.launch("sleep", "60")
    await bench.runtime.close()
    shim = bench.helper("shim")
    gone = _end_of(shim)
    os.kill(shim, signal.SIGKILL)
    await gone
    kept = journal.Journal(str(bench.directory / "run" / "containers"))
    entry = kept.read(running.container)
    assert entry
    kept.write({**entry, "boot_id": "another boot"})

    await bench.open()

    known = (await bench.runtime.containers())[running.container]
    assert (known.exit_code, known.signal) == (None, None)


async def test_two_nodes_of_one_machine_do_not_meet(bench: Any, tmp_path: Path) -> None:
    other = type(bench)(tmp_path / "other", bench.layer)
    (tmp_path / "other").mkdir()
    await other.open()
    try:
        one, two = (
            await bench.launch("sleep", "60", name="same"),
            await other.launch("sleep", "60", name="same"),
        )
        assert one.pid != two.pid
        await other.runtime.remove("same")
        assert await bench.runtime.containers() == {"same": one}
    finally:
        await other.runtime.shutdown()
    with pytest.raises(LaunchFailed, match="exists already"):
        await bench.launch("true", name="same")


def _told_of_strangers(end: tuple[int | None, int | None]) -> list[tuple[int | None, int | None]]:
    """How the end of nobody's child may be reported: before Linux 6.15 also as unknown, never as a guess."""
    major, minor = map(int, platform.release().split(".")[:2])
    return [end] if (major, minor) >= (6, 15) else [end, (None, None)]


def _end_of(pid: int) -> "asyncio.Future[None]":
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    pidfd = os.pidfd_open(pid)

    def ended() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        future.set_result(None)

    loop.add_reader(pidfd, ended)
    return future


async def _kill_helper(bench: Any, short: str) -> None:
    pid = bench.helper(short)
    gone = _end_of(pid)
    os.kill(pid, signal.SIGKILL)
    await gone


async def _acknowledged(bench: Any, container: str) -> None:
    while not (await bench.runtime._entries())[container]["acknowledged"]:
        await asyncio.sleep(0)


def _ignore(_event: dict[str, Any]) -> None:
    """Another one hears it too."""


async def test_whoever_has_users_of_their_own_can_pass_the_groups_above_theirs(bench: Any) -> None:
    mount = Path("/sys/fs/cgroup")
    groups = [*mount.glob(bench.cgroup_root), *mount.glob(f"*/{bench.cgroup_root}")]
    assert groups
    assert {group.stat().st_mode & 0o777 for group in groups} == {0o755}
