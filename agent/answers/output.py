"""What containers have said and say: lines of their log files, on their way to a user."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from agent.answers.place import Place, Refused
from agent.answers.user import User
from agent.reconciler import run_name
from agent.runtime import logs
from orch.model.names import TaskId
from orch.v1 import control_pb2, sessions_pb2

NEXT_RUN_SECONDS = 0.25
"""Between two looks for the next run of a container whose run has ended, while somebody follows it."""


async def send(
    directory: Path,
    task: TaskId,
    ask: sessions_pb2.TaskLogsAsk,
    find: Callable[[], Place | None],
    user: User,
) -> None:
    """Lines until there are no more; with `follow` until the task is over, through all its restarts."""
    place = find()
    name = place.container.name if place else ask.container
    runs = _present_and_before(directory, name, place)
    if ask.previous:
        runs = runs[:-1]
        if not runs:
            raise Refused(f"container {name} of {task} has no earlier run")
    follow = ask.follow and not ask.previous
    run = runs[-1] if runs else await _next_run(directory, name, None, find, user) if follow else None
    tail = ask.tail if ask.tail >= 0 else None
    while run is not None:
        lines = logs.read(directory, str(run), since=ask.since, tail=tail, follow=follow)
        if not await _send_lines(lines, task, name, ask.stream, user) or not follow:
            return
        run, tail = await _next_run(directory, name, run, find, user), None


def _present_and_before(directory: Path, name: str, place: Place | None) -> list[run_name.RunName]:
    """The last of them is the run that is, though it may have written nothing yet; empty before the first."""
    present = run_name.parse(place.container.id) if place else None
    runs = runs_of(directory, name)
    return sorted({*runs, present}, key=_order) if present else runs


async def _next_run(
    directory: Path,
    name: str,
    last: run_name.RunName | None,
    find: Callable[[], Place | None],
    user: User,
) -> run_name.RunName | None:
    """The run after this one, once it begins; None when there will be none or the user has gone."""
    gone = asyncio.ensure_future(user.wait_gone())
    try:
        while not gone.done():
            place = find()
            later = [run for run in runs_of(directory, name) if last is None or _order(run) > _order(last)]
            if later:
                return later[0]
            if place is None or place.is_over:
                return None
            await asyncio.wait({gone}, timeout=NEXT_RUN_SECONDS)
        return None
    finally:
        gone.cancel()


async def _send_lines(
    lines: AsyncIterator[logs.Line], task: TaskId, name: str, stream: str, user: User
) -> bool:
    """Whether the user still listens when they are over."""
    gone = asyncio.ensure_future(user.wait_gone())
    try:
        while not gone.done():
            coming = asyncio.ensure_future(anext(lines, None))
            await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                return False
            if (line := coming.result()) is None:
                return True
            if not stream or line.stream == stream:
                await user.say(log=_message(line, task, name))
        return False
    finally:
        gone.cancel()


def _message(line: logs.Line, task: TaskId, name: str) -> control_pb2.LogLine:
    text = line.text.encode()
    return control_pb2.LogLine(
        task=task.full_name, container=name, stream=line.stream, at=line.timestamp, text=text
    )


def runs_of(directory: Path, container: str) -> list[run_name.RunName]:
    """Those of which there are logs, the oldest first."""
    names = (run_name.parse(path.name.removesuffix(".log")) for path in directory.glob("*.log"))
    return sorted((each for each in names if each and each.container == container), key=_order)


def _order(run: run_name.RunName) -> tuple[int, int]:
    return run.incarnation, run.run
