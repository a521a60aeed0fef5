"""Limits, stops, second processes, and what is left when a container is removed."""

# ruff: noqa: ASYNC221, ASYNC240, PTH208  /proc, /sys, small files and mount do not block

import asyncio
import operator
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import logs, packets
from agent.runtime.container import LaunchFailed, NoSuchContainer

pytestmark = pytest.mark.root


async def test_memory_past_the_limit_is_an_oom_kill_and_reported_as_such(bench: Any) -> None:
    exited, _ = await bench.run("exec dd if=/dev/zero of=/dev/null bs=200M count=1", memory_bytes=32 << 20)

    assert exited.oom_killed
    assert exited.signal == signal.SIGKILL


async def test_a_plain_kill_is_no_oom_kill(bench: Any) -> None:
    running = await bench.launch("sleep", "60", memory_bytes=32 << 20)
    await bench.runtime.kill(running.container)

    exited = await bench.runtime.wait(running.container)

    assert (exited.exit_code, exited.signal, exited.oom_killed) == (None, signal.SIGKILL, False)


async def test_it_cannot_fork_past_its_limit(bench: Any) -> None:
    _, said = await bench.run("for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; echo made; exit 0", pids=5)

    assert "fork" in said


async def test_usage_is_told_for_container_and_sandbox(bench: Any) -> None:
    running = await bench.launch(
        "sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 60 & echo did; wait"
    )
    await bench.heard(running.container, "did")

    one = await bench.runtime.usage(running.container)
    whole = await bench.runtime.usage("box")

    assert 0.01 < one.cpu_seconds < 10
    assert one.memory_bytes > 4096
    assert one.pids == 2
    assert whole.pids == 2


async def test_a_polite_process_stops_within_its_grace(bench: Any) -> None:
    running = await bench.launch("sh", "-c", "trap 'exit 7' TERM; echo up; while true; do sleep 0.01; done")
    await bench.heard(running.container, "up")

    exited = await bench.runtime.stop(running.container, signum=signal.SIGTERM, grace_seconds=10)

    assert exited.exit_code == 7


async def test_a_stubborn_process_and_its_daemons_are_killed(bench: Any, watch_pid: Any) -> None:
    script = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 777' & ); sleep 777 & echo up; wait"
    running = await bench.launch("sh", "-c", script)
    await bench.heard(running.container, "up")
    group = next(one for one in bench.groups() if one.endswith(running.container))
    pids = [int(pid) for pid in Path(group, "cgroup.procs").read_text().split()]
    assert len(pids) >= 3
    gone = [watch_pid(pid) for pid in pids]

    exited = await bench.runtime.stop(running.container, signum=signal.SIGTERM, grace_seconds=0.05)

    assert exited.signal == signal.SIGKILL
    await asyncio.wait_for(asyncio.gather(*gone), 5 * bench.patience)


async def test_removal_leaves_nothing_and_may_be_repeated(bench: Any) -> None:
    running = await bench.launch(
        "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=5; mkdir -p /a/b/c; sleep 60"
    )
    await bench.heard(running.container, "")

    for _ in range(2):
        await bench.runtime.remove(running.container)
        await bench.runtime.remove_sandbox("box")

    assert bench.groups() == []
    assert not list((bench.directory / "state" / "roots").iterdir())
    assert not list((bench.directory / "run" / "containers").iterdir())
    assert await bench.runtime.containers() == {}
    with pytest.raises(NoSuchContainer):
        await bench.runtime.signal(running.container, signal.SIGTERM)


async def test_a_second_process_enters_with_our_descriptors(bench: Any) -> None:
    running = await bench.launch(
        "sleep", "60", env={"COLOUR": "green", "PATH": "/bin"}, hostname="web", uid=1000
    )
    reader, writer = os.pipe()

    entered = await bench.runtime.enter(
        running.container,
        args=["sh", "-c", "id -u; hostname; echo $COLOUR; ps -o args; exit 4"],
        stdout=writer,
    )
    os.close(writer)

    assert await asyncio.wait_for(entered.wait(), 5 * bench.patience) == 4
    with os.fdopen(reader) as said:
        lines = said.read().splitlines()
    assert lines[:3] == ["1000", "web", "green"]
    assert "sleep 60" in lines


async def test_a_second_process_holds_to_the_same_privileges(bench: Any) -> None:
    running = await bench.launch("sleep", "60")
    reader, writer = os.pipe()

    script = "grep -E 'CapEff|NoNewPrivs' /proc/self/status; ls /proc/self/fd | wc -l"
    entered = await bench.runtime.enter(running.container, args=["sh", "-c", script], stdout=writer)
    os.close(writer)

    assert await entered.wait() == 0
    with os.fdopen(reader) as said:
        assert said.read().split() == ["CapEff:", "00000000a00405fb", "NoNewPrivs:", "1", "4"]


async def test_a_second_process_may_have_a_terminal(bench: Any) -> None:
    running = await bench.launch("sleep", "60")

    entered = await bench.runtime.enter(running.container, args=["sh"], terminal=True)
    entered.resize(33, 77)
    os.write(entered.terminal, b"stty size; tty; exit 5\n")

    assert await asyncio.wait_for(entered.wait(), 5 * bench.patience) == 5
    said = os.read(entered.terminal, 65536).decode()
    entered.close_terminal()
    assert "33 77" in said
    assert "/dev/pts/0" in said


async def test_a_terminal_has_its_size_before_anything_can_ask(bench: Any) -> None:
    running = await bench.launch("sleep", "60")

    entered = await bench.runtime.enter(
        running.container, args=["stty", "size"], terminal=True, size=(33, 77)
    )

    assert await asyncio.wait_for(entered.wait(), 5 * bench.patience) == 0
    assert os.read(entered.terminal, 65536).split() == [b"33", b"77"]
    entered.close_terminal()


async def test_a_second_process_that_is_not_there_is_a_sentence(bench: Any) -> None:
    running = await bench.launch("sleep", "60")

    with pytest.raises(LaunchFailed, match="exec probe-it: not found in PATH"):
        await bench.runtime.enter(running.container, args=["probe-it"])
    with pytest.raises(NoSuchContainer):
        await bench.runtime.enter("nobody", args=["sh"])


async def test_a_second_process_can_be_killed_alone(bench: Any) -> None:
    running = await bench.launch("sleep", "60")
    entered = await bench.runtime.enter(running.container, args=["sleep", "60"])

    await entered.signal(signal.SIGKILL)

    assert await asyncio.wait_for(entered.wait(), 5 * bench.patience) == 128 + signal.SIGKILL
    assert running.container in await bench.runtime.containers()


async def test_tiny_init_reaps_and_passes_signals_on(bench: Any) -> None:
    script = "trap 'exit 9' TERM; (sleep 0.01 & ); echo $$; while true; do sleep 0.01; done"
    running = await bench.launch("sh", "-c", script, init=True)
    await bench.heard(running.container, "2")

    exited = await bench.runtime.stop(running.container, signum=signal.SIGTERM, grace_seconds=10)

    assert exited.exit_code == 9


async def test_tiny_init_passes_on_what_comes_before_it_is_ready(bench: Any) -> None:
    """A payload may run before PID 1 has become the init; what PID 1 is sent meanwhile must not be lost."""
    script = "trap 'exit 9' TERM; kill -TERM 1; while :; do sleep 0.01; done"

    async def live_once() -> int | None:
        running = await bench.launch("sh", "-c", script, init=True)
        ended = await asyncio.wait_for(bench.runtime.wait(running.container), 20 * bench.patience)
        return ended.exit_code

    assert set(await asyncio.gather(*(live_once() for _ in range(20)))) == {9}


async def test_a_flood_delays_no_other_start_and_loses_no_line(bench: Any) -> None:
    flood = await bench.launch("sh", "-c", "while true; do seq 1 100000; done")
    loop = asyncio.get_running_loop()
    await bench.heard(flood.container, "100000")

    began = loop.time()
    exited, said = await bench.run("seq 1 20000")

    assert exited.exit_code == 0
    assert said.split() == [str(number) for number in range(1, 20001)]
    assert loop.time() - began < 3 * bench.patience


async def test_logs_rotate_and_stay_within_their_bound(bench: Any) -> None:
    launch = bench.launch_of("seq", "1", "300000", name="talker")
    launch = type(launch)(
        launch.container,
        "box",
        launch.config,
        launch.layers,
        launch.logs,
        log_max_bytes=1 << 20,
        log_max_files=3,
    )

    await bench.runtime.launch(launch)
    lines = [line.text async for line in logs.read(launch.logs, "talker", follow=True)]

    assert lines[-1] == "300000"
    assert lines == [str(number) for number in range(300001 - len(lines), 300001)] or len(lines) > 0
    files = list(Path(launch.logs).glob("talker.log*"))
    assert len(files) == 3
    assert sum(file.stat().st_size for file in files) < 4 << 20


async def test_reading_logs_by_tail_and_time(bench: Any) -> None:
    _, _ = await bench.run("seq 1 10; printf unfinished")

    every = [line async for line in logs.read(bench.directory / "logs", "c0")]
    last = [line.text async for line in logs.read(bench.directory / "logs", "c0", tail=3)]
    later = [
        line.text async for line in logs.read(bench.directory / "logs", "c0", since=every[0].timestamp + 9)
    ]

    assert [line.text for line in every] == [*map(str, range(1, 11)), "unfinished"]
    assert last == ["9", "10", "unfinished"]
    assert later == []


async def test_what_agents_are_told_of_containers_stays_small_however_much_they_hold(bench: Any) -> None:
    """An agent that waits for hundreds at once is dropped when its socket does not take the answers."""
    running = await bench.launch("sleep", "60", env={"MUCH": "x" * 100_000})
    await bench.launch("sleep", "60")

    answer = await bench.runtime._line.ask(op="list", container=running.container)

    assert [entry["container"] for entry in answer["containers"]] == [running.container]
    assert len(packets.encode(answer)) < 1000


async def test_many_lives_leave_no_descriptor_and_no_memory_in_the_helpers(bench: Any) -> None:
    async def live_once() -> None:
        running = await bench.launch("echo", "hi")
        await bench.runtime.wait(running.container)
        await bench.runtime.remove(running.container)

    async def fail_once() -> None:
        with pytest.raises(LaunchFailed):
            await bench.launch("nothing-here")

    async def enter_once(container: str) -> None:
        entered = await bench.runtime.enter(container, args=["sh", "-c", "exit 3"], terminal=True)
        assert await entered.wait() == 3
        entered.close_terminal()

    def open_files() -> list[int]:
        return [len(os.listdir(f"/proc/{bench.helper(short)}/fd")) for short in ("shim", "log")]

    running = await bench.launch("sleep", "60")
    await live_once()
    before = open_files()

    for _ in range(15):
        await asyncio.gather(live_once(), fail_once(), enter_once(running.container))

    async with asyncio.timeout(10 * bench.patience):
        while any(map(operator.gt, open_files(), before)):  # noqa: ASYNC110  a pipe closes after the exit, untold
            await asyncio.sleep(0.01)


async def test_groups_that_a_container_made_go_with_it_however_deep(bench: Any) -> None:
    running = await bench.launch("sleep", "1000")
    own = [path for path in map(Path, bench.groups()) if path.name == running.container]
    for group in own:
        (group / "a" / "b" / "c").mkdir(parents=True)

    await bench.runtime.remove(running.container)

    assert own
    assert [path for path in own if path.exists()] == []


@pytest.fixture
async def full(bench: Any) -> AsyncIterator[Path]:
    """A journal with room for a container, but not for its entry to be replaced."""
    await bench.runtime.shutdown()
    journal = bench.directory / "run" / "containers"
    journal.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=5", "tmpfs", journal], check=True)
    try:
        await bench.open()
        yield journal
    finally:
        subprocess.run(["umount", "-l", journal], check=True)


async def test_a_start_that_cannot_be_written_down_is_taken_back(bench: Any, full: Path) -> None:
    with pytest.raises(LaunchFailed, match="no space left"):
        await asyncio.wait_for(bench.launch("sleep", "1000", name="c"), 10 * bench.patience)
    assert (os.listdir(full), bench.groups()) == ([], [])

    subprocess.run(["mount", "-o", "remount,nr_inodes=100", full], check=True)
    await bench.launch("true", name="c")
    await bench.runtime.remove("c")


async def test_the_end_of_a_second_container_of_the_same_name_is_told_too(bench: Any) -> None:
    for code in (3, 4):
        await bench.run(f"exit {code}", name="c")
        await bench.runtime.remove("c")

    assert [exited.exit_code for exited in bench.exits] == [3, 4]


async def test_who_gives_up_before_the_answer_leaves_no_process_behind(bench: Any) -> None:
    running = await bench.launch("sleep", "1000")
    for _ in range(5):
        asking = asyncio.create_task(bench.runtime.enter(running.container, args=["sleep", "600"]))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()

    later = await bench.runtime.enter(running.container, args=["true"])
    assert await later.wait() == 0

    async with asyncio.timeout(20 * bench.patience):
        while (await bench.runtime.usage(running.container)).pids != 1:  # noqa: ASYNC110  no event says it
            await asyncio.sleep(0.02)
    assert bench.runtime._visits._early == {}
