"""A user and a process: what the user types goes in, what the process says comes out, neither overtakes the other.

Nothing piles up here: a process that does not read makes the user wait, a user who does not read makes the
process wait.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from agent.answers.user import User
from orch.v1 import control_pb2

CHUNK_BYTES = 64 << 10


class Process(Protocol):
    """Who is talked to."""

    async def wait(self) -> int | None: ...
    async def signal(self, signum: int) -> None: ...
    def resize(self, rows: int, columns: int) -> None: ...


class Input:
    """The writing end of a process's standard input."""

    def __init__(self, fd: int, *, owned: bool = True, at_end: bytes = b"") -> None:
        self._fd = fd
        self._owned = owned
        self._at_end = at_end

    async def write(self, data: bytes) -> None:
        """Waits while the process does not read. Once it does not listen any more, nothing is written."""
        view = memoryview(data)
        while view and self._fd >= 0:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await _ready(self._fd, for_writing=True)
            except OSError:
                self.close()

    async def end(self) -> None:
        """The user has no more: end of file, or the key that means it."""
        if self._at_end:
            await self.write(self._at_end)
        else:
            self.close()

    def close(self) -> None:
        if self._owned and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


async def talk(user: User, process: Process, outputs: Mapping[str, int], given: Input) -> int | None:
    """Exit code; all output is sent before that. The process is killed when the user goes."""
    feeding = asyncio.create_task(_feed(user, process, given))
    leaving = asyncio.create_task(user.wait_gone())
    reading = [asyncio.create_task(pump(user, kind, fd)) for kind, fd in outputs.items()]
    ending = asyncio.create_task(process.wait())
    try:
        await asyncio.wait([ending, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            await process.signal(signal.SIGKILL)
        code = await ending
        if not leaving.done():
            read = asyncio.ensure_future(_all(reading))
            await asyncio.wait([read, leaving], return_when=asyncio.FIRST_COMPLETED)
            read.cancel()
    finally:
        if not ending.done():  # cancelled: the way to the user is gone, and nobody else would end it
            await process.signal(signal.SIGKILL)
        for task in (feeding, leaving, ending, *reading):
            task.cancel()
        await asyncio.gather(feeding, leaving, *reading, return_exceptions=True)
    return code


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


async def _feed(user: User, process: Process, given: Input) -> None:
    """Until the user has gone."""
    while (heard := await user.hear()) is not None:
        match heard.WhichOneof("kind"):
            case "stdin":
                await given.write(heard.stdin)
            case "stdin_closed":
                await given.end()
            case "resize":
                process.resize(heard.resize.rows, heard.resize.columns)


async def pump(user: User, kind: str, fd: int) -> None:
    """All that comes out of a descriptor."""
    async for chunk in _chunks(fd):
        said = (
            control_pb2.ExecOutput(stdout=chunk) if kind == "stdout" else control_pb2.ExecOutput(stderr=chunk)
        )
        await user.say(exec=said)


async def _chunks(fd: int) -> AsyncIterator[bytes]:
    while True:
        try:
            chunk = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            await _ready(fd, for_writing=False)
            continue
        except OSError:  # EIO: the other end of a terminal is closed
            return
        if not chunk:
            return
        yield chunk


async def _ready(fd: int, *, for_writing: bool) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if for_writing else (loop.add_reader, loop.remove_reader)
    )
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)


class Pipes:
    """Three pipes to a process: ours are closed with us, theirs when it has them."""

    def __init__(self) -> None:
        pairs = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        (self.stdin, self.to), (self.out, self.stdout), (self.error, self.stderr) = pairs
        for fd in (self.to, self.out, self.error):
            os.set_blocking(fd, False)
        self.given = Input(self.to)

    def hand_over(self) -> None:
        """It has them, or will never have them."""
        for fd in (self.stdin, self.stdout, self.stderr):
            os.close(fd)

    def close(self) -> None:
        self.given.close()
        os.close(self.out)
        os.close(self.error)

    @property
    def outputs(self) -> dict[str, int]:
        return {"stdout": self.out, "stderr": self.error}
