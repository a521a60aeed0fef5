"""Answers what a user asks for, logs and commands, each on a stream of its own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from agent.answers import command
from agent.answers.place import Place, Refused
from agent.answers.user import User
from agent.reconciler import accounts, image_files, run_name
from agent.runtime import logs
from agent.runtime.client import Runtime
from agent.runtime.container import LaunchFailed
from orch import wire
from orch.model.names import TaskId
from orch.v1 import control_pb2, sessions_pb2, sessions_pb2_grpc

_log = logging.getLogger(__name__)

_NOT_STARTED = 126
_NOT_FOUND = 127
"""As shells say it."""

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
        user = User(stub.Answer())
        try:
            await user.say(id=ask.id)
            await self._answer(ask, user)
            await user.bid_farewell()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            _log.debug("the user of stream %s has gone", ask.id)
        finally:
            user.hang_up()

    async def _answer(self, ask: sessions_pb2.StreamAsk, user: User) -> None:
        task = wire.from_wire(ask.task, TaskId)
        try:
            match ask.WhichOneof("kind"):
                case "logs":
                    await self._send_logs(task, ask.logs, user)
                case "exec":
                    await self._execute(task, ask.exec, user)
                case _:
                    await user.say(problem="this agent is too old to know what is asked")
        except Refused as refusal:
            await user.say(problem=str(refusal))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise
        except Exception as error:
            _log.exception("stream %s broke", ask.id)
            await user.say(problem=f"the node could not answer: {error}")

    # -- logs ------------------------------------------------------------------------------------------

    async def _send_logs(self, task: TaskId, ask: sessions_pb2.TaskLogsAsk, user: User) -> None:
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
        await _send_lines(lines, task, name, user)

    # -- commands --------------------------------------------------------------------------------------

    async def _execute(self, task: TaskId, start: control_pb2.ExecStart, user: User) -> None:
        place = self._find(task.key, start.container)
        if place is None or place.container.running is None:
            raise Refused(f"container {start.container or 'main'} of {task} does not run")
        account = _account(start.user, place)
        try:
            code = await command.run(self._runtime, start, place, account, user)
        except LaunchFailed as error:
            end = control_pb2.ExecEnd(exit_code=_code_of(error), problem=error.message)
        else:
            end = control_pb2.ExecEnd(exit_code=code)
        await user.say(exec=control_pb2.ExecOutput(end=end))


def _code_of(error: LaunchFailed) -> int:
    is_missing = error.step == "exec" and ("not found" in error.message or "no such file" in error.message)
    return _NOT_FOUND if is_missing else _NOT_STARTED


async def _send_lines(lines: AsyncIterator[logs.Line], task: TaskId, name: str, user: User) -> None:
    gone = asyncio.ensure_future(user.wait_gone())
    try:
        while not gone.done():
            coming = asyncio.ensure_future(anext(lines, None))
            await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                return
            if (line := coming.result()) is None:
                return
            await user.say(log=_log_line(line, task, name))
    finally:
        gone.cancel()


def _log_line(line: logs.Line, task: TaskId, name: str) -> control_pb2.LogLine:
    text = line.text.encode()
    return control_pb2.LogLine(
        task=task.full_name, container=name, stream=line.stream, at=line.timestamp, text=text
    )


def _runs(directory: Path, container: str) -> list[run_name.RunName]:
    """Those of which there are logs, the oldest first."""
    names = (run_name.parse(path.name.removesuffix(".log")) for path in directory.glob("*.log"))
    return sorted(
        (each for each in names if each and each.container == container),
        key=lambda each: (each.incarnation, each.run),
    )


def _account(user: str, place: Place) -> tuple[int, int] | None:
    if not user:
        return None
    passwd, group = (image_files.read(place.layers, path) for path in ("/etc/passwd", "/etc/group"))
    try:
        found = accounts.find(user, passwd, group)
    except accounts.UnknownUser as error:
        raise Refused(str(error)) from error
    return found.uid, found.gid
