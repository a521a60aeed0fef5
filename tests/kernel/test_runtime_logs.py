"""What containers say is in their logs exactly once, whatever happens to orch-log, and a flood delays nobody."""

# ruff: noqa: ASYNC240  /proc does not block

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import logs, scratch
from agent.runtime.logfile import LogFile, write_again

pytestmark = pytest.mark.root


async def test_no_line_is_lost_or_there_twice_however_often_the_logger_is_killed(bench: Any) -> None:
    writing = "n=0; while [ -z $over ]; do seq $((n + 1)) $((n + 500)); n=$((n + 500)); sleep 0.01; done"
    running = await bench.launch("sh", "-c", f"trap over=1 TERM; {writing}")
    kills = 0
    while kills < 10:
        await asyncio.sleep(random.uniform(0.0, 0.02))
        with contextlib.suppress(AssertionError):  # it is not back yet
            os.kill(bench.helper("log"), signal.SIGKILL)
            kills += 1
    await bench.runtime.signal(running.container, signal.SIGTERM)
    await asyncio.wait_for(bench.runtime.wait(running.container), 60 * bench.patience)

    lines = [line.text async for line in logs.read(bench.directory / "logs", running.container, follow=True)]

    assert lines == [str(number) for number in range(1, len(lines) + 1)]
    assert len(lines) % 500 == 0


async def test_what_a_short_container_said_is_kept_though_the_logger_comes_to_it_after_its_removal(
    bench: Any,
) -> None:
    logger = bench.helper("log")
    os.kill(logger, signal.SIGSTOP)
    try:
        running = await bench.launch("echo", "in time")
        await bench.runtime.wait(running.container)
        await bench.runtime.remove(running.container)
    finally:
        os.kill(logger, signal.SIGCONT)

    async with asyncio.timeout(10 * bench.patience):
        lines = [
            line.text async for line in logs.read(bench.directory / "logs", running.container, follow=True)
        ]
    assert lines == ["in time"]


@pytest.mark.parametrize("written", [0, 7, 1000])
def test_a_chunk_that_was_under_way_is_written_once(tmp_path: Path, written: int) -> None:
    """Killed before anything of it was in the log, within, and after it was there wholly."""
    path = str(tmp_path / "c.log")
    reading, writing = os.pipe()
    log = LogFile(path, 1 << 20, 2)
    log.write(b"stdout", b"before\n")
    os.write(writing, b"one\ntwo\nthr")
    killed = scratch.Scratch(str(tmp_path / "scratch"))
    chunk = killed.take(reading, 4096, path, log.size, b"stdout")
    size = log.size
    log.write(b"stdout", chunk)
    os.truncate(path, min(size + written, log.size))

    was = scratch.Scratch(str(tmp_path / "scratch")).interrupted()
    assert was is not None
    write_again(*was)

    texts = [row.split(" ", 2)[2] for row in Path(path).read_text().splitlines()]
    assert texts == ["F before", "F one", "F two", "P thr"]
    killed.done()
    assert scratch.Scratch(str(tmp_path / "scratch")).interrupted() is None
    os.close(reading)
    os.close(writing)


async def test_a_flood_of_one_container_delays_no_line_of_another(bench: Any) -> None:
    flood = await bench.launch("sh", "-c", "while :; do echo 0123456789012345678901234567890123456789; done")
    quiet = await bench.launch(
        "sh", "-c", "while :; do sleep 0.1; date +%s; head -c 16 /proc/uptime; echo; done"
    )
    waits: list[float] = []
    async with asyncio.timeout(30 * bench.patience):
        async for line in logs.read(bench.directory / "logs", quiet.container, follow=True):
            if "." in line.text:
                uptime, seen = float(line.text.split()[0]), time.clock_gettime(time.CLOCK_BOOTTIME)
                waits.append(seen - uptime)
                if len(waits) == 20:
                    break
    status = Path(f"/proc/{bench.helper('log')}/status").read_text().splitlines()
    memory = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))

    assert sorted(waits)[10] < 0.5 * bench.patience, waits
    assert memory < 40 << 20
    await bench.runtime.kill(flood.container)
