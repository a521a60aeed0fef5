"""A command that a user runs in a container: on pipes, or on a terminal."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from agent.answers.place import Place, Refused
from agent.answers.user import User
from agent.runtime.client import Runtime
from agent.runtime.entered import Entered
from orch.v1 import control_pb2

CHUNK_BYTES = 32 << 10
_EXIT_UNKNOWN = 255


async def run(
    runtime: Runtime, start: control_pb2.ExecStart, place: Place, account: tuple[int, int] | None, user: User
) -> int:
    """The exit code, 255 when nobody can know it. Ends when the user goes. Raises LaunchFailed."""
    return await _Command(runtime, start, user).run(place, account)


class _Command:
    """One command: its output up, its input down."""

    def __init__(self, runtime: Runtime, start: control_pb2.ExecStart, user: User) -> None:
        self._runtime = runtime
        self._start = start
        self._user = user

    async def run(self, place: Place, user: tuple[int, int] | None) -> int:
        return await (self._on_terminal(place, user) if self._start.terminal else self._on_pipes(place, user))

    async def _on_terminal(self, place: Place, user: tuple[int, int] | None) -> int:
        size = self._start.size
        entered = await self._enter(place, user, terminal=True, size=(size.rows, size.columns))
        terminal = entered.terminal
        if terminal is None:
            raise Refused("the runtime gave the command no terminal")
        os.set_blocking(terminal, False)
        try:
            return await self._converse(entered, {"stdout": terminal}, terminal)
        finally:
            entered.close_terminal()

    async def _on_pipes(self, place: Place, user: tuple[int, int] | None) -> int:
        pairs = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        (theirs_in, ours_in), (ours_out, theirs_out), (ours_err, theirs_err) = pairs
        ours, theirs = (ours_in, ours_out, ours_err), (theirs_in, theirs_out, theirs_err)
        try:
            try:
                entered = await self._enter(
                    place, user, stdin=theirs_in, stdout=theirs_out, stderr=theirs_err
                )
            finally:
                for fd in theirs:
                    os.close(fd)
            for fd in ours:
                os.set_blocking(fd, False)
            given = _Input(ours_in)
            if not self._start.interactive:
                given.close()
            try:
                return await self._converse(entered, {"stdout": ours_out, "stderr": ours_err}, given)
            finally:
                given.close()
        finally:
            os.close(ours_out)
            os.close(ours_err)

    async def _enter(self, place: Place, user: tuple[int, int] | None, **descriptors: Any) -> Entered:
        start = self._start
        return await self._runtime.enter(
            place.container.id,
            args=list(start.args),
            env={**place.environment, **start.environment} if start.environment else None,
            cwd=start.working_dir or None,
            user=user,
            **descriptors,
        )

    async def _converse(self, entered: Entered, outputs: dict[str, int], given: "_Input | int") -> int:
        """Exit code. The output is read to its end before that, unless the user goes."""
        feeding = asyncio.create_task(self._feed(entered, given))
        reading = [asyncio.create_task(self._pump(kind, fd)) for kind, fd in outputs.items()]
        ending = asyncio.create_task(entered.wait())
        try:
            await asyncio.wait([ending, feeding], return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                await entered.signal(signal.SIGKILL)
            code = await ending
            told = asyncio.gather(*reading)  # a child that it left behind may keep the output open for ever
            both: list[asyncio.Future[Any]] = [told, feeding]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if told.done():
                told.result()
        finally:
            for task in (feeding, ending, *reading):
                task.cancel()
            await asyncio.gather(feeding, *reading, return_exceptions=True)
        return _EXIT_UNKNOWN if code is None else code

    async def _feed(self, entered: Entered, given: "_Input | int") -> None:
        """Returns when the user has gone."""
        sink = given if isinstance(given, _Input) else _Input(given, owned=False)
        while (given_now := await self._user.hear()) is not None:
            match given_now.WhichOneof("kind"):
                case "stdin":
                    await sink.write(given_now.stdin)
                case "stdin_closed":
                    if self._start.terminal:
                        await sink.write(b"\x04")
                    else:
                        sink.close()
                case "resize":
                    entered.resize(given_now.resize.rows, given_now.resize.columns)

    async def _pump(self, kind: str, fd: int) -> None:
        async for chunk in _chunks(fd):
            said = (
                control_pb2.ExecOutput(stdout=chunk)
                if kind == "stdout"
                else control_pb2.ExecOutput(stderr=chunk)
            )
            await self._user.say(exec=said)


class _Input:
    """The writing end of a command's standard input."""

    def __init__(self, fd: int, *, owned: bool = True) -> None:
        self._fd = fd
        self._owned = owned

    async def write(self, data: bytes) -> None:
        """Waits while the command does not read. Once it does not listen any more, nothing is written."""
        view = memoryview(data)
        while view and self._fd >= 0:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await _wait_writable(self._fd)
            except OSError:
                self.close()

    def close(self) -> None:
        """End of input."""
        if self._owned and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


async def _chunks(fd: int) -> AsyncIterator[bytes]:
    while True:
        try:
            chunk = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            await _wait_readable(fd)
            continue
        except OSError:  # EIO: the other end of a terminal is closed
            return
        if not chunk:
            return
        yield chunk


async def _wait_readable(fd: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def _wait_writable(fd: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
