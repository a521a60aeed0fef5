"""A user at the main process of a container: its output from now on, and its terminal or input to write to."""

import asyncio
import fcntl
import os
import struct
from pathlib import Path

from agent.answers import talk
from agent.answers.place import Place, Refused
from agent.answers.user import User
from agent.linux import constants as c
from agent.runtime import logs
from agent.runtime.client import Runtime
from agent.runtime.container import Exited, LaunchFailed, NoSuchContainer
from orch.v1 import control_pb2

_BY_SIGNAL = 128
_EXIT_UNKNOWN = 255


async def attach(
    runtime: Runtime, directory: Path, start: control_pb2.AttachStart, place: Place, user: User
) -> int:
    """The main process's exit code, as shells count. It goes on when the user goes."""
    given, is_terminal = -1, False
    if start.interactive:
        given, is_terminal = await _input(runtime, place, with_terminal=start.size.rows > 0)
    try:
        if start.size.rows and is_terminal:
            _resize(given, start.size.rows, start.size.columns)
        ending = asyncio.create_task(runtime.wait(place.container.id))  # before it, or nobody knows any more
        # begun in this order: the answer to the first word may be there before anybody looks for it
        watching = asyncio.create_task(_watch(directory, place.container.id, user))
        typing = asyncio.create_task(_type(user, given, is_terminal=is_terminal))
        leaving = asyncio.create_task(user.wait_gone())
        try:
            await asyncio.wait([watching, leaving], return_when=asyncio.FIRST_COMPLETED)
            return _EXIT_UNKNOWN if leaving.done() else await _code(ending)
        finally:
            for task in (typing, watching, leaving, ending):
                task.cancel()
            await asyncio.gather(typing, watching, leaving, ending, return_exceptions=True)
    finally:
        if given >= 0:
            os.close(given)


async def _input(runtime: Runtime, place: Place, *, with_terminal: bool) -> tuple[int, bool]:
    """What to write to, and whether it is a terminal."""
    run, name = place.container.id, place.container.name
    try:
        terminal = await runtime.terminal(run)
    except NoSuchContainer:
        raise Refused(f"container {name} has just ended") from None
    except LaunchFailed:
        if with_terminal:
            raise Refused(
                f"container {name} has no terminal: set tty: true in its manifest, or leave out -t"
            ) from None
        try:
            return runtime.stdin(run), False
        except LaunchFailed:
            raise Refused(
                f"container {name} has nothing to write to: set stdin: true (or tty: true) in its manifest, "
                "or attach without -i to watch it"
            ) from None
    os.set_blocking(terminal, False)
    return terminal, True


async def _watch(directory: Path, run: str, user: User) -> None:
    async for stream, data in logs.pieces(directory, run):
        said = (
            control_pb2.ExecOutput(stderr=data) if stream == "stderr" else control_pb2.ExecOutput(stdout=data)
        )
        await user.say(exec=said)


async def _type(user: User, fd: int, *, is_terminal: bool) -> None:
    """Until the user has gone. Who has nothing to write to is heard all the same, and nothing comes of it."""
    given = talk.Input(fd, owned=False)
    while (heard := await user.hear()) is not None:
        match heard.WhichOneof("kind"):
            case "stdin":
                await given.write(heard.stdin)
            case "resize" if is_terminal:
                _resize(fd, heard.resize.rows, heard.resize.columns)


def _resize(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, c.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def _code(ending: asyncio.Task[Exited]) -> int:
    try:
        ended = await ending
    except NoSuchContainer:
        return _EXIT_UNKNOWN
    if ended.signal:
        return _BY_SIGNAL + ended.signal
    return _EXIT_UNKNOWN if ended.exit_code is None else ended.exit_code
