"""Starts an unpacker for one layer, feeds it, and reads its verdict."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

from agent.images.limits import Limits
from orch.oci.failure import ImageFailure, Reason, bad_image

# No site-packages scan, no user's settings: the helper starts in 30 ms and imports only what it names.
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); "
    "from agent.images import unpacker; unpacker.main()"
)


async def from_chunks(
    chunks: AsyncIterator[bytes],
    root: Path,
    *,
    size: int,
    digest: str,
    diff_id: str,
    limits: Limits,
    received: Callable[[int], None],
) -> int:
    """Unpacks what `chunks` yields beneath `root`; answers the unpacked size in bytes."""
    process = await _start(root, size, digest, diff_id, limits, stdin=subprocess.PIPE)
    verdict = asyncio.create_task(_verdict(process))
    try:
        await _feed(process, chunks, received)
        return await verdict
    finally:
        verdict.cancel()
        await _end(process)


async def from_file(fd: int, root: Path, *, size: int, digest: str, diff_id: str, limits: Limits) -> int:
    """Like `from_chunks`, reading `size` bytes from where the descriptor stands."""
    process = await _start(root, size, digest, diff_id, limits, stdin=fd)
    try:
        return await _verdict(process)
    finally:
        await _end(process)


async def _start(
    root: Path, size: int, digest: str, diff_id: str, limits: Limits, *, stdin: int
) -> asyncio.subprocess.Process:
    order = (root, size, digest, diff_id, *limits)
    paths = "\n".join(path for path in sys.path if path)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, paths, *map(str, order)),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"LC_ALL": "C.UTF-8"} | {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"},
    )


async def _feed(
    process: asyncio.subprocess.Process, chunks: AsyncIterator[bytes], received: Callable[[int], None]
) -> None:
    """An unpacker that gives up early closes its end; its verdict says why."""
    stdin = process.stdin
    if stdin is None:
        raise RuntimeError("an unpacker was started without a pipe")
    try:
        async with aclosing(chunks) as feed:  # type: ignore[type-var]
            async for chunk in feed:
                stdin.write(chunk)
                await stdin.drain()
                received(len(chunk))
        stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        pass


async def _verdict(process: asyncio.subprocess.Process) -> int:
    said, complaint = await asyncio.gather(_all_of(process.stdout), _all_of(process.stderr))
    await process.wait()
    if not said:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise bad_image(f"the unpacker ended with {process.returncode}: {last[0]}")
    word, _, rest = said.decode().partition("\n")
    if word != "done":
        raise ImageFailure(Reason(word), rest)
    return int(rest)


async def _all_of(pipe: asyncio.StreamReader | None) -> bytes:
    return await pipe.read() if pipe else b""


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()
