"""Answers what a user asks for: logs, commands, files. Each on a stream of its own."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from agent.answers import attaching, command, copying, forwarding, images, output, top
from agent.answers.place import Place, Refused
from agent.answers.reaching.answering import Reaching
from agent.answers.user import User
from agent.builds.answering import Builds
from agent.images.library import Library
from agent.reconciler import accounts, image_files
from agent.runtime.client import Runtime
from agent.runtime.container import LaunchFailed, NoSuchContainer
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
    def __init__(
        self,
        runtime: Runtime,
        log_directory: Path,
        find: Find,
        builds: Builds,
        meter: top.Meter,
        library: Library,
        insides: Callable[[], forwarding.Insides],
        reaching: Reaching,
    ) -> None:
        self._reaching = reaching
        self._insides = insides
        self._meter = meter
        self._builds = builds
        self._library = library
        self._runtime = runtime
        self._logs = log_directory
        self._find = find
        self._users: dict[str, User] = {}

    async def answer(self, ask: sessions_pb2.StreamAsk, channel: grpc.aio.Channel) -> None:
        """Until the answer is over or the user has gone."""
        stub: Any = sessions_pb2_grpc.SessionsStub(channel)
        user = self._users[ask.id] = User(stub.Answer())
        try:
            await user.say(id=ask.id)
            await self._answer(ask, user)
            await user.bid_farewell()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            _log.debug("the user of stream %s has gone", ask.id)
        finally:
            user.hang_up()
            del self._users[ask.id]

    def hung_up(self, identity: str) -> None:
        """The user of a stream has gone."""
        if user := self._users.get(identity):
            user.left()

    async def _answer(self, ask: sessions_pb2.StreamAsk, user: User) -> None:
        try:
            if ask.WhichOneof("kind") == "build":
                await self._builds.answer(ask.build, user)
                return
            if ask.WhichOneof("kind") == "net_check":
                await self._reaching.answer(user)
                return
            if ask.WhichOneof("kind") == "images":
                await user.say(images=await asyncio.to_thread(images.held, self._library))
                return
            task = wire.from_wire(ask.task, TaskId)
            match ask.WhichOneof("kind"):
                case "logs":
                    directory, name = self._logs / task.key, ask.logs.container
                    await output.send(directory, task, ask.logs, lambda: self._find(task.key, name), user)
                case "exec":
                    await self._execute(task, ask.exec, user)
                case "copy":
                    place = self._running(task, ask.copy.container)
                    end = control_pb2.ExecEnd(exit_code=await copying.copy(ask.copy, place, user))
                    await user.say(exec=control_pb2.ExecOutput(end=end))
                case "attach":
                    place = self._running(task, ask.attach.container)
                    code = await attaching.attach(
                        self._runtime, self._logs / task.key, ask.attach, place, user
                    )
                    await user.say(exec=control_pb2.ExecOutput(end=control_pb2.ExecEnd(exit_code=code)))
                case "forward":
                    if broken := await forwarding.forward(self._insides(), task, ask.forward.target, user):
                        await user.say(forward=broken)
                case "top":
                    await user.say(top=await self._meter.measure(ask.top))
                case _:
                    await user.say(problem="this agent is too old to know what is asked")
        except Refused as refusal:
            await user.say(problem=str(refusal))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise
        except Exception as error:
            _log.exception("stream %s broke", ask.id)
            await user.say(problem=f"the node could not answer: {error}")

    def _running(self, task: TaskId, container: str) -> Place:
        place = self._find(task.key, container)
        if place is None or place.container.running is None:
            raise Refused(f"container {container or 'main'} of {task} does not run")
        return place

    async def _execute(self, task: TaskId, start: control_pb2.ExecStart, user: User) -> None:
        place = self._running(task, start.container)
        account = _account(start.user, place)
        try:
            code = await command.run(self._runtime, start, place, account, user)
        except LaunchFailed as error:
            end = control_pb2.ExecEnd(exit_code=_code_of(error), problem=error.message)
        except NoSuchContainer:
            raise Refused(f"container {place.container.name} of {task} has just ended") from None
        else:
            end = control_pb2.ExecEnd(exit_code=code)
        await user.say(exec=control_pb2.ExecOutput(end=end))


def _code_of(error: LaunchFailed) -> int:
    is_missing = error.step == "exec" and ("not found" in error.message or "no such file" in error.message)
    return _NOT_FOUND if is_missing else _NOT_STARTED


def _account(user: str, place: Place) -> accounts.Account | None:
    if not user:
        return None
    try:
        return image_files.account_of(user, place.layers)
    except accounts.UnknownUser as error:
        raise Refused(str(error)) from error
