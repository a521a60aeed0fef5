"""Watches services until what was asked of them is so, has failed, or waits for the user."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cli.exits import INTERRUPTED, NotSo
from cli.render import progress
from cli.render.progress import Goal, Seen, Standing
from cli.session import Session

AGAIN_SECONDS = 1.0
"""Between two attempts to reach a control plane that went away while we watched."""
MOST_ATTEMPTS = 30


def goals_of(reply: Any) -> list[Goal]:
    """What an ApplyReply asks of services."""
    return [
        Goal(
            each.reference.namespace,
            each.reference.name,
            each.generation,
            each.target_revision,
            reply.received_at,
        )
        for each in reply.objects
        if each.reference.kind.removesuffix("s") == "service" and each.action != "deleted"
    ]


def until_serving(session: Session, goals: Sequence[Goal], timeout: float) -> int:
    """Shows the progress; the exit code. Raises NotSo with all that is known of what failed."""
    if not goals:
        return 0
    seen = {goal.name: Seen() for goal in goals}
    try:
        with _shown() as show:
            for _ in _changes(session, goals, seen, timeout):
                show(goals, seen)
                if all(_is_decided(goal, seen) for goal in goals):
                    break
    except KeyboardInterrupt:
        sys.stderr.write("\n" + progress.left(goals, seen) + "\n")
        return INTERRUPTED
    return _conclusion(goals, seen, timeout)


def _conclusion(goals: Sequence[Goal], seen: dict[str, Seen], timeout: float) -> int:
    failed = [goal for goal in goals if progress.judge(goal, seen[goal.name]) is Standing.FAILED]
    if failed:
        raise NotSo("\n".join(progress.failure(goal, seen[goal.name]) for goal in failed))
    moving = [goal for goal in goals if progress.judge(goal, seen[goal.name]) is Standing.MOVING]
    if moving:
        lines = [progress.line(goal, seen[goal.name]) for goal in moving]
        raise NotSo(
            f"not serving after {timeout:g} s:\n" + "\n".join(lines) + "\n" + progress.left(moving, seen)
        )
    for goal in goals:
        if progress.judge(goal, seen[goal.name]) is Standing.HELD:
            sys.stdout.write(progress.held(goal, seen[goal.name]) + "\n")
    return 0


def _is_decided(goal: Goal, seen: dict[str, Seen]) -> bool:
    return progress.judge(goal, seen[goal.name]) is not Standing.MOVING


def _changes(
    session: Session, goals: Sequence[Goal], seen: dict[str, Seen], timeout: float
) -> Iterator[None]:
    """Once after every change; a control plane that went away is looked for again."""
    from cli.connection import Unreachable

    deadline = time.monotonic() + timeout
    attempts = 0
    while (left := deadline - time.monotonic()) > 0:
        try:
            for reply in session.watch(
                ["services", "tasks"],
                [goal.name for goal in goals],
                namespace=_namespace(goals),
                finished=True,
                seconds=left,
            ):
                attempts = 0
                _note(reply, goals, seen)
                yield
        except Unreachable as error:
            attempts += 1
            if attempts > MOST_ATTEMPTS:
                raise
            if attempts == 1:
                sys.stderr.write(f"{error}; trying again\n")
            time.sleep(AGAIN_SECONDS)


def _namespace(goals: Sequence[Goal]) -> str:
    found = {goal.namespace for goal in goals}
    return found.pop() if len(found) == 1 else ""


def _note(reply: Any, goals: Sequence[Goal], seen: dict[str, Seen]) -> None:
    known = {(goal.namespace, goal.name): seen[goal.name] for goal in goals}
    for each in reply.changed:
        if each.HasField("service"):
            name = each.service.service.name
            if (name.namespace, name.name) in known:
                known[name.namespace, name.name].view = each.service
        elif each.HasField("task"):
            task = each.task.task.id
            if (task.namespace, task.service) in known:
                known[task.namespace, task.service].note_task(each.task)
    for gone in reply.removed:
        if gone.kind.removesuffix("s") == "service" and (gone.namespace, gone.name) in known:
            known[gone.namespace, gone.name].is_gone = True


Show = Callable[[Sequence[Goal], dict[str, Seen]], None]


@contextlib.contextmanager
def _shown() -> Iterator[Show]:
    """On a terminal the lines change in place; in a pipe a line is written when it says something new."""
    if not sys.stdout.isatty():
        yield _Plain().show
        return
    from rich.live import Live
    from rich.text import Text

    shown = ""
    with Live(auto_refresh=False, transient=False) as live:

        def show(goals: Sequence[Goal], seen: dict[str, Seen]) -> None:
            nonlocal shown
            width = max(len(goal.name) for goal in goals)
            text = "\n".join(
                progress.line(goal, seen[goal.name], name_width=width, bar=True) for goal in goals
            )
            if text != shown:
                shown = text
                live.update(Text(text, overflow="ellipsis", no_wrap=True), refresh=True)

        yield show


class _Plain:
    """Lines for a pipe."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def show(self, goals: Sequence[Goal], seen: dict[str, Seen]) -> None:
        for goal in goals:
            line = progress.line(goal, seen[goal.name])
            if self._said.get(goal.name) != line:
                self._said[goal.name] = line
                sys.stdout.write(line + "\n")
        sys.stdout.flush()
