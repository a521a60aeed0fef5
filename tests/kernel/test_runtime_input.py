"""A standard input that stays open: who writes comes and goes, and so may the helpers."""

import asyncio
import dataclasses
import os
import signal
from typing import Any

import pytest

from agent.runtime.container import LaunchFailed

pytestmark = pytest.mark.root


@pytest.mark.parametrize("first_id", [0, 700_000])
async def test_an_open_input_takes_what_is_written_and_ends_with_no_writer_and_no_helper(
    bench: Any, first_id: int
) -> None:
    script = "id -u; while read line; do echo got $line; [ $line != bye ] || exit 5; done; echo ended"
    launch = bench.launch_of("sh", "-c", script, uid=1000, first_id=first_id)
    running = await bench.runtime.launch(dataclasses.replace(launch, stdin=True))

    def write(line: str) -> None:
        fd = bench.runtime.stdin(running.container)
        os.write(fd, f"{line}\n".encode())
        os.close(fd)

    write("one")
    await bench.heard(running.container, "got one")
    await bench.runtime.upgrade()
    await bench.runtime.containers()
    write("two")
    await bench.heard(running.container, "got two")
    os.kill(bench.helper("shim"), signal.SIGKILL)
    await bench.runtime.containers()
    write("bye")

    ended = await asyncio.wait_for(bench.runtime.wait(running.container), 10 * bench.patience)
    assert ended.exit_code in {5, None}  # its shim had been killed
    assert (await bench.said(running.container)).splitlines() == ["1000", "got one", "got two", "got bye"]


async def test_without_an_open_input_there_is_nothing_to_write_to(bench: Any) -> None:
    running = await bench.launch("sh", "-c", "read line || echo nothing; sleep 60")
    await bench.heard(running.container, "nothing")

    with pytest.raises(LaunchFailed, match="has none; start it with one"):
        bench.runtime.stdin(running.container)


async def test_who_has_closed_an_open_input_is_written_to_no_more(bench: Any) -> None:
    launch = bench.launch_of("sh", "-c", "exec 0<&-; echo closed; sleep 60")
    running = await bench.runtime.launch(dataclasses.replace(launch, stdin=True))
    await bench.heard(running.container, "closed")

    with pytest.raises(LaunchFailed, match="has closed its standard input"):
        bench.runtime.stdin(running.container)
