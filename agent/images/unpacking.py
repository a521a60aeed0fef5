"""Has layers unpacked, each by a process of its own: feeds it, and reads its verdict."""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from agent.images.limits import Limits
from agent.images.order import Order
from orch.oci.failure import ImageFailure, Reason, bad_image

# No site-packages scan, no user's settings: only what is named is imported.
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); from agent.images import nursery; nursery.main()"
)
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
    "MALLOC_TOP_PAD_": str(4 << 20),
}
"""One chunk's memory is the next one's: given back to the kernel each time, a layer of 20 MB costs 10 ms more."""
IDLE_SECONDS = 10.0
"""A nursery without an order for so long ends: its 12 MB are worth 30 ms only while images come."""
_PIPE_BYTES = 1 << 20
"""What may lie between agent and unpacker: at the usual 64 KiB they wait for each other all the time."""


class Unpackers:
    """All unpackers of an agent. Close it."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._door: socket.socket | None = None
        self._nursery: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._at_work = 0
        self._ending: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """No unpacker may be at work."""
        if self._ending:
            self._ending.cancel()
        async with self._turn:
            door, nursery, self._door, self._nursery = self._door, self._nursery, None, None
            if door:
                door.close()
            if nursery:
                await nursery.wait()

    async def warm(self) -> None:
        """Layers will come in a moment: what they wait for may begin now."""
        async with self._turn:
            await self._open_door()
        self._rest()

    async def from_chunks(
        self,
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
        source, sink = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # less is slower, and nothing else
            fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(sink, False)
        try:
            unpacker = await self._start(Order(str(root), size, digest, diff_id, limits), source)
        except BaseException:
            os.close(sink)
            raise
        finally:
            os.close(source)
        verdict = asyncio.create_task(unpacker.verdict())
        try:
            try:
                await _feed(sink, chunks, received)
            finally:
                os.close(sink)
            return await verdict
        finally:
            verdict.cancel()
            await self._end(unpacker, verdict)

    async def from_file(
        self, fd: int, root: Path, *, size: int, digest: str, diff_id: str, limits: Limits
    ) -> int:
        """Like `from_chunks`, reading `size` bytes from where the descriptor stands."""
        unpacker = await self._start(Order(str(root), size, digest, diff_id, limits), fd)
        verdict = asyncio.create_task(unpacker.verdict())
        try:
            return await verdict
        finally:
            await self._end(unpacker, verdict)

    async def _start(self, order: Order, blob: int) -> "_Unpacker":
        answer, said = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(answer, False)
        try:
            async with self._turn:
                process = await self._born(order.written(), [blob, said])
        except BaseException:
            os.close(answer)
            raise
        finally:
            os.close(said)
        self._at_work += 1
        return _Unpacker(process, answer)

    async def _born(self, order: bytes, pipes: list[int]) -> int:
        for _ in range(2):
            door = await self._open_door()
            try:
                socket.send_fds(door, [order], pipes)
                await _readable(door.fileno())
                word, process, _, _ = socket.recv_fds(door, 16, 1)
                if word:
                    return process[0]
            except (BrokenPipeError, ConnectionResetError):
                pass
            except BaseException:  # an answer that nobody waits for would be taken for the next one's
                self._leave(door)
                raise
            self._leave(door)  # it was killed: one more is started
        raise bad_image("the process that unpacks layers ends as soon as it begins: see the agent's log")

    def _leave(self, door: socket.socket) -> None:
        self._door = None
        door.close()

    async def _open_door(self) -> socket.socket:
        if self._ending:
            self._ending.cancel()
        if self._door is None:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with its:
                ours.setblocking(False)
                paths = "\n".join(path for path in sys.path if path)
                self._nursery = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, paths),
                    stdin=its.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=_ENVIRONMENT | {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"},
                )
            self._door = ours
        return self._door

    async def _end(self, unpacker: "_Unpacker", verdict: "asyncio.Task[int]") -> None:
        try:
            if verdict.cancelled() or not verdict.done():
                unpacker.kill()
                await _readable(
                    unpacker.process
                )  # it has ended: nothing is written to its directory any more
            await asyncio.gather(verdict, return_exceptions=True)
        finally:
            unpacker.close()
            self._at_work -= 1
            self._rest()

    def _rest(self) -> None:
        if self._ending:
            self._ending.cancel()
        if not self._at_work:
            self._ending = asyncio.get_running_loop().call_later(self._idle_seconds, self._fall_asleep)

    def _fall_asleep(self) -> None:
        if not self._at_work:
            task = asyncio.create_task(self.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


@dataclass(frozen=True, slots=True)
class _Unpacker:
    """One process, and the pipe it answers on."""

    process: int
    answer: int

    async def verdict(self) -> int:
        said = b""
        while True:
            await _readable(self.answer)
            if not (more := os.read(self.answer, 65536)):
                break
            said += more
        word, _, rest = said.decode(errors="replace").partition("\n")
        if word == "done":
            return int(rest)
        if word in set(Reason):
            raise ImageFailure(Reason(word), rest)
        last = said.decode(errors="replace").strip().splitlines()[-1:] or [
            "killed, perhaps for want of memory"
        ]
        raise bad_image(f"the process that unpacks a layer ended without a verdict: {last[0]}")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.process, signal.SIGKILL)

    def close(self) -> None:
        os.close(self.process)
        os.close(self.answer)


async def _feed(sink: int, chunks: AsyncIterator[bytes], received: Callable[[int], None]) -> None:
    """An unpacker that gives up early closes its end; its verdict says why."""
    with contextlib.suppress(BrokenPipeError):
        async with aclosing(chunks) as feed:  # type: ignore[type-var]
            async for chunk in feed:
                rest = memoryview(chunk)
                while rest:
                    try:
                        rest = rest[os.write(sink, rest) :]
                    except BlockingIOError:
                        await _writable(sink)
                received(len(chunk))


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(fd, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(fd, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(fd)


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
