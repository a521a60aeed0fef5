"""Answers what a user asks for, logs and commands, each on a stream of its own."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from agent.reconciler import accounts, image_files, run_name
from agent.reconciler.asked import Asked
from agent.reconciler.observed import Container
from agent.runtime import logs
from agent.runtime.client import Runtime
from agent.runtime.entered import Entered
from orch import wire
from orch.model.names import TaskId
from orch.v1 import control_pb2, sessions_pb2, sessions_pb2_grpc

_log = logging.getLogger(__name__)

CHUNK_BYTES = 32 << 10
_EXIT_UNKNOWN = 255


class Refused(Exception):
    """It cannot be done; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container of a task is."""

    asked: Asked
    container: Container
    layers: tuple[str, ...]
    environment: dict[str, str]


Find = Callable[[str, str], Place | None]
"""By the task's key and the container's name (empty: its first)."""


class Answers:
    def __init__(self, runtime: Runtime, log_directory: Path, find: Find) -> None:
        self._runtime = runtime
        self._logs = log_directory
        self._find = find

    async def answer(self, ask: sessions_pb2.StreamAsk, channel: grpc.aio.Channel) -> None:
        """Until the answer is over or the user has gone."""
        stub: Any = sessions_pb2_grpc.SessionsStub(channel)
        call = stub.Answer()
        try:
            await call.write(sessions_pb2.AnswerUp(id=ask.id))
            await self._answer(ask, call)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            _log.debug("the user of stream %s has gone", ask.id)
        except Exception as error:
            _log.exception("stream %s broke", ask.id)
            with contextlib.suppress(Exception):
                await call.write(sessions_pb2.AnswerUp(problem=f"the node could not answer: {error}"))
                await call.done_writing()
        finally:
            call.cancel()

    async def _answer(self, ask: sessions_pb2.StreamAsk, call: Any) -> None:
        task = wire.from_wire(ask.task, TaskId)
        try:
            match ask.WhichOneof("kind"):
                case "logs":
                    await self._send_logs(task, ask.logs, call)
                case "exec":
                    await self._execute(task, ask.exec, call)
                case _:
                    words = "this agent does not know what is asked; it is older than the control plane"
                    await call.write(sessions_pb2.AnswerUp(problem=words))
        except Refused as refusal:
            await call.write(sessions_pb2.AnswerUp(problem=str(refusal)))

    # -- logs ------------------------------------------------------------------------------------------

    async def _send_logs(self, task: TaskId, ask: sessions_pb2.TaskLogsAsk, call: Any) -> None:
        place = self._find(task.key, ask.container)
        name = place.container.name if place else ask.container
        directory = self._logs / task.key
        runs = _runs(directory, name)
        if not runs:
            return
        if ask.previous and len(runs) < 2:
            raise Refused(f"container {name} of {task} has no earlier run")
        run = runs[-2] if ask.previous else runs[-1]
        lines = logs.read(
            directory,
            str(run),
            since=ask.since,
            tail=ask.tail if ask.tail >= 0 else None,
            follow=ask.follow and not ask.previous,
        )
        gone = asyncio.ensure_future(call.read())
        try:
            await _send_lines(lines, gone, task, name, call)
        finally:
            gone.cancel()

    # -- commands --------------------------------------------------------------------------------------

    async def _execute(self, task: TaskId, start: control_pb2.ExecStart, call: Any) -> None:
        place = self._find(task.key, start.container)
        if place is None or place.container.running is None:
            raise Refused(f"container {start.container or 'main'} of {task} does not run")
        user = _user(start.user, place)
        command = _Command(self._runtime, start, call)
        try:
            code = await command.run(place, user)
        except Exception as error:
            message = getattr(error, "message", str(error))
            end = control_pb2.ExecEnd(exit_code=126, problem=message)
            await call.write(_output(end=end))
            return
        await call.write(_output(end=control_pb2.ExecEnd(exit_code=code)))


class _Command:
    """One command: its output up, its input down."""

    def __init__(self, runtime: Runtime, start: control_pb2.ExecStart, call: Any) -> None:
        self._runtime = runtime
        self._start = start
        self._call = call
        self._writing = asyncio.Lock()

    async def run(self, place: Place, user: tuple[int, int] | None) -> int:
        return await (self._on_terminal(place, user) if self._start.terminal else self._on_pipes(place, user))

    async def _on_terminal(self, place: Place, user: tuple[int, int] | None) -> int:
        entered = await self._enter(place, user, terminal=True)
        terminal = entered.terminal
        if terminal is None:
            raise Refused("the runtime gave the command no terminal")
        os.set_blocking(terminal, False)
        size = self._start.size
        if size.rows and size.columns:
            entered.resize(size.rows, size.columns)
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
        """Exit code. The output is read to its end before that."""
        feeding = asyncio.create_task(self._feed(entered, given))
        reading = [asyncio.create_task(self._pump(kind, fd)) for kind, fd in outputs.items()]
        ending = asyncio.create_task(entered.wait())
        try:
            await asyncio.wait([ending, feeding], return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                await entered.signal(signal.SIGKILL)
            code = await ending
            await asyncio.gather(*reading)
        finally:
            for task in (feeding, ending, *reading):
                task.cancel()
            await asyncio.gather(feeding, *reading, return_exceptions=True)
        return _EXIT_UNKNOWN if code is None else code

    async def _feed(self, entered: Entered, given: "_Input | int") -> None:
        """Returns when the user has gone."""
        sink = given if isinstance(given, _Input) else _Input(given, owned=False)
        while (message := await self._call.read()) is not grpc.aio.EOF:
            match message.exec.WhichOneof("kind"):
                case "stdin":
                    await sink.write(message.exec.stdin)
                case "stdin_closed":
                    if self._start.terminal:
                        await sink.write(b"\x04")
                    else:
                        sink.close()
                case "resize":
                    entered.resize(message.exec.resize.rows, message.exec.resize.columns)

    async def _pump(self, kind: str, fd: int) -> None:
        async for chunk in _chunks(fd):
            async with self._writing:
                await self._call.write(_output(**{kind: chunk}))


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


async def _send_lines(
    lines: AsyncIterator[logs.Line], gone: "asyncio.Future[Any]", task: TaskId, name: str, call: Any
) -> None:
    while not gone.done():
        coming = asyncio.ensure_future(anext(lines))
        await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            coming.cancel()
            return
        try:
            line = coming.result()
        except StopAsyncIteration:
            return
        text = line.text.encode()
        log = control_pb2.LogLine(
            task=task.full_name, container=name, stream=line.stream, at=line.timestamp, text=text
        )
        await call.write(sessions_pb2.AnswerUp(log=log))


def _runs(directory: Path, container: str) -> list[run_name.RunName]:
    """Those of which there are logs, the oldest first."""
    names = (run_name.parse(path.name.removesuffix(".log")) for path in directory.glob("*.log"))
    return sorted(
        (each for each in names if each and each.container == container),
        key=lambda each: (each.incarnation, each.run),
    )


def _user(user: str, place: Place) -> tuple[int, int] | None:
    if not user:
        return None
    passwd, group = (image_files.read(place.layers, path) for path in ("/etc/passwd", "/etc/group"))
    try:
        found = accounts.find(user, passwd, group)
    except accounts.UnknownUser as error:
        raise Refused(str(error)) from error
    return found.uid, found.gid


def _output(**kind: Any) -> sessions_pb2.AnswerUp:
    return sessions_pb2.AnswerUp(exec=control_pb2.ExecOutput(**kind))
