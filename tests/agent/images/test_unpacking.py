"""Unpackers and the process that they are born from."""

import asyncio
import hashlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.images import unpacking
from agent.images.limits import Limits
from agent.images.unpacking import Unpackers
from orch.oci import build
from orch.oci.failure import ImageFailure

pytestmark = pytest.mark.root


@asynccontextmanager
async def some_unpackers(idle_seconds: float = unpacking.IDLE_SECONDS) -> AsyncIterator[Unpackers]:
    found = Unpackers(idle_seconds)
    try:
        yield found
    finally:
        await found.close()


async def unpack(unpackers: Unpackers, root: Path) -> int:
    layer = build.layer([build.Item("a", b"content")])
    root.mkdir()  # noqa: ASYNC240  a moment

    async def chunks() -> AsyncIterator[bytes]:
        yield layer.blob

    return await unpackers.from_chunks(
        chunks(),
        root,
        size=len(layer.blob),
        digest="sha256:" + hashlib.sha256(layer.blob).hexdigest(),
        diff_id=layer.diff_id,
        limits=Limits(),
        received=lambda _: None,
    )


def nursery_of(unpackers: Unpackers) -> int:
    assert unpackers._nursery
    return unpackers._nursery.pid


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_layers_are_unpacked_by_children_of_one_process(tmp_path: Path) -> None:
    async with some_unpackers() as unpackers:
        await unpack(unpackers, tmp_path / "one")
        first = nursery_of(unpackers)

        await asyncio.gather(*(unpack(unpackers, tmp_path / f"layer-{n}") for n in range(8)))

        assert nursery_of(unpackers) == first
        assert (tmp_path / "layer-7" / "a").read_bytes() == b"content"


async def test_a_nursery_that_was_killed_is_followed_by_another(tmp_path: Path) -> None:
    async with some_unpackers() as unpackers:
        await unpack(unpackers, tmp_path / "one")
        os.kill(nursery_of(unpackers), signal.SIGKILL)

        await unpack(unpackers, tmp_path / "two")

        assert (tmp_path / "two" / "a").read_bytes() == b"content"


async def test_who_gives_up_leaves_no_unpacker(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    source, sink = os.pipe()  # it stays open: nothing but a signal ends who reads from it
    async with some_unpackers() as unpackers:
        await unpackers.warm()
        waiting = asyncio.create_task(
            unpackers.from_file(source, tmp_path / "root", size=1000, digest="", diff_id="", limits=Limits())
        )
        while not unpackers._at_work:  # noqa: ASYNC110  the order is sent by others than this test
            await asyncio.sleep(0.01)
        born = children_of(nursery_of(unpackers))
        assert len(born) == 1

        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        assert not runs(born[0])
    os.close(source)
    os.close(sink)


def runs(pid: int) -> bool:
    """One that has ended may not be reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


AGENT = """
import asyncio, sys
sys.path[:] = sys.argv[1].split("\\n")
from pathlib import Path
from agent.images.limits import Limits
from agent.images.unpacking import Unpackers
async def begun():
    yield b"\\x1f\\x8b\\x08\\0"
    print(unpackers._nursery.pid, flush=True)
    await asyncio.Event().wait()
async def main():
    await unpackers.from_chunks(begun(), Path(sys.argv[2]), size=1000, digest="", diff_id="", limits=Limits(),
        received=lambda _: None)
unpackers = Unpackers()
asyncio.run(main())
"""


def test_a_killed_agent_leaves_neither_nursery_nor_unpacker(tmp_path: Path) -> None:
    paths = "\n".join(path for path in sys.path if path)
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, paths, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with agent:
        assert agent.stdout
        nursery = int(agent.stdout.readline())
        left = [nursery, *children_of(nursery)]
        handles = [os.pidfd_open(pid) for pid in left]

        agent.kill()

        assert len(left) == 2
        for handle in handles:
            assert select.select([handle], [], [], 60)[0], "it runs on"
            os.close(handle)


async def test_an_unpacker_that_is_killed_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    nursery = -1

    async def chunks() -> AsyncIterator[bytes]:
        yield b"\x1f\x8b\x08\0"
        for pid in children_of(nursery):
            os.kill(pid, signal.SIGKILL)
        yield bytes(996)

    async with some_unpackers() as unpackers:
        await unpackers.warm()
        nursery = nursery_of(unpackers)
        with pytest.raises(ImageFailure, match=r"ended without a verdict: killed"):
            await unpackers.from_chunks(
                chunks(),
                tmp_path / "root",
                size=1000,
                digest="",
                diff_id="",
                limits=Limits(),
                received=lambda _: None,
            )


async def test_a_nursery_without_work_ends(tmp_path: Path) -> None:
    async with some_unpackers(idle_seconds=0.0) as unpackers:
        await unpack(unpackers, tmp_path / "one")
        process = unpackers._nursery
        assert process

        async with asyncio.timeout(30):
            assert await process.wait() == 0
