"""How far a service has come on its way to what was asked: the judgement, and its line.

Knows a goal, the latest views, and what failing tasks said while it looked; never how these are got.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cli.render import words

_BAR_CELLS = 20
_MOST_LOG_LINES = 20


class Standing(Enum):
    """Whether it is worth waiting any longer."""

    MOVING = "moving"
    SERVING = "serving"
    HELD = "held"
    """A canary or a pause that waits for the user's word."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Goal:
    """What an apply asked of one service."""

    namespace: str
    name: str
    generation: int
    revision: int
    since: float
    """When the control plane received it: older outcomes of the same revision do not count."""


@dataclass(slots=True)
class Seen:
    """What is known of the service now."""

    view: Any = None
    tasks: dict[str, Any] = field(default_factory=dict)
    """By uid, also those that are gone: a failed task's last words matter most."""
    is_gone: bool = False

    def note_task(self, view: Any) -> None:
        """A task that failed and is then told to stop ends as stopped: what it said before tells more."""
        identity = view.task.id
        uid = f"{identity.birth}-{identity.slot}-{identity.attempt}"
        known = self.tasks.get(uid)
        if known is None or view.state not in _ENDING or known.state not in _TELLING:
            self.tasks[uid] = view


_TELLING = {6, 9, 10}
"""Backoff, failed, rejected."""
_PREPARING = 3
_ENDING = {7, 8}
"""Stopping, complete."""


def judge(goal: Goal, seen: Seen) -> Standing:
    """Asked after every change."""
    view = seen.view
    if seen.is_gone:
        return Standing.FAILED
    if view is None or view.service.generation < goal.generation:
        return Standing.MOVING
    if view.service.revision != goal.revision or view.service.deleted:
        return Standing.FAILED
    phase = view.rollout.phase
    outcome = _outcome(goal, view)
    if outcome in {"failed", "aborted"}:
        return Standing.MOVING if phase == "rolling-back" else Standing.FAILED
    if _stays_back(view):
        return Standing.SERVING if view.ready == view.desired else Standing.MOVING
    if view.rollout.target != goal.revision and not outcome:
        return Standing.MOVING  # what is told of the rollout is of the one before
    if phase == "canary" and "rollout promote" in view.rollout.waiting and not _is_let_pass(view):
        return Standing.HELD
    if _is_paused(view):
        return Standing.HELD
    if view.status == "Complete":
        return Standing.SERVING
    # More than desired, too, is not there yet: a service that was scaled down still lets instances go.
    is_whole = view.ready >= view.desired and view.updated == view.desired
    return Standing.SERVING if view.status == "Running" and is_whole else Standing.MOVING


def line(goal: Goal, seen: Seen, *, name_width: int = 0, bar: bool = False) -> str:
    """One line: how many are ready, and the reason of any wait."""
    view = seen.view
    name = goal.name.ljust(name_width)
    if seen.is_gone:
        return f"{name}  was deleted"
    if view is None or view.service.generation < goal.generation:
        return f"{name}  accepted"
    done = min(view.ready, view.updated) if view.rollout.phase != "rolling-back" else view.ready
    drawn = f"{_bar(done, view.desired)}  " if bar else ""
    counts = f"{view.ready}/{view.desired} ready, {view.updated} of revision {goal.revision}"
    return f"{name}  {drawn}{counts}  {_state(goal, seen)}".rstrip()


def failure(goal: Goal, seen: Seen) -> str:
    """Why it failed, in full: the exit code, the last lines of output, the probe's answer, what runs now."""
    view = seen.view
    if seen.is_gone or view.service.deleted:
        return f"{goal.name} was deleted while we waited"
    if view.service.revision != goal.revision:
        newer = view.service.revision
        return f"{goal.name}: revision {goal.revision} was replaced by revision {newer}, applied after it"
    lines = [f"{goal.name}: revision {goal.revision} {_outcome(goal, view) or 'failed'}: {_why(goal, view)}"]
    for task in _failed(goal, seen.tasks.values()):
        lines += _task_lines(task)
    lines += [_what_runs(goal, view), f"see: orchctl describe svc/{goal.name}; orchctl events {goal.name}"]
    return "\n".join(lines)


def held(goal: Goal, seen: Seen) -> str:
    """How to go on from a canary that waits, or from a pause."""
    if _is_paused(seen.view):
        return (
            f"{goal.name}: the rollout is paused; revision {goal.revision} waits\n"
            f"go on: orchctl rollout resume {goal.name}    give up: orchctl rollout abort {goal.name}"
        )
    where = ", ".join(seen.view.rollout.nodes)
    on = f" on {where}" if where else ""
    return (
        f"{goal.name}: revision {goal.revision} runs{on} and is healthy; the rest waits for you\n"
        f"go on: orchctl rollout promote {goal.name}    give up: orchctl rollout abort {goal.name}"
    )


def left(goals: Iterable[Goal], seen: Mapping[str, Seen]) -> str:
    """Said when the user stops watching."""
    lines = []
    for goal in goals:
        view = seen[goal.name].view
        standing = f"{view.ready}/{view.desired} ready" if view is not None else "accepted"
        lines.append(f"{goal.name} goes on by itself ({standing}, revision {goal.revision})")
        lines.append(
            f"  watch: orchctl rollout status {goal.name} -w    take back: orchctl rollout undo {goal.name}"
        )
    return "\n".join(lines)


def _is_paused(view: Any) -> bool:
    return bool(view.service.orders.paused and view.rollout.phase == "paused")


def _stays_back(view: Any) -> bool:
    """What was asked for before was given up; what is asked for now, scaling for one, is of what runs instead."""
    return bool(view.status == "RolledBack" and view.rollout.phase == "done")


def _is_let_pass(view: Any) -> bool:
    """The user has promoted the present step, and the rollout has yet to hear of it."""
    orders = view.service.orders
    if orders.promoted_revision != view.service.revision:
        return False
    return bool(orders.promoted_steps < 0 or orders.promoted_steps > view.rollout.step)


def _outcome(goal: Goal, view: Any) -> str:
    for each in reversed(view.rollout.outcomes):
        if each.revision == goal.revision:
            return str(each.outcome) if each.at >= goal.since else ""
    return ""


def _why(goal: Goal, view: Any) -> str:
    for each in reversed(view.rollout.outcomes):
        if each.revision == goal.revision and each.reason:
            return str(each.reason)
    return str(view.rollout.verdict or view.reason or "no reason was given")


def _state(goal: Goal, seen: Seen) -> str:
    view = seen.view
    if judge(goal, seen) is Standing.SERVING and _stays_back(view):
        return f"serving revision {view.rollout.stable}; revision {goal.revision} was given up"
    if judge(goal, seen) is Standing.SERVING:
        return "complete" if view.status == "Complete" else "serving"
    is_over = view.rollout.phase == "done"  # and its verdict is of the rollout, not of what is waited for now
    reason = view.rollout.waiting or view.reason or ("" if is_over else view.rollout.verdict)
    if is_over and view.updated > view.desired:
        reason = f"{view.updated - view.desired} more to stop"
    if pulls := _pulls(goal, seen.tasks.values()):
        reason = f"{pulls}; {view.rollout.waiting}" if view.rollout.waiting else pulls
    word = (
        "going back" if view.rollout.phase == "rolling-back" else _WORDS.get(view.status, view.status.lower())
    )
    return f"{word}: {reason}" if reason else word


_WORDS = {"RolledBack": "rolled back"}


def _pulls(goal: Goal, tasks: Iterable[Any]) -> str:
    """How far images are on their way to nodes: the first task's, and how many more there are."""
    found = [
        f"{task.task.id.service}.{task.task.id.slot}: {task.message}"
        for task in sorted(tasks, key=lambda view: view.task.id.slot)
        if task.task.revision == goal.revision
        and task.state == _PREPARING
        and task.message
        and not task.reason
    ]
    more = f", and {len(found) - 1} more" if found[1:] else ""
    return f"{found[0]}{more}" if found else ""


def _bar(done: int, whole: int) -> str:
    filled = _BAR_CELLS * done // whole if whole else _BAR_CELLS
    return "━" * filled + "─" * (_BAR_CELLS - filled)


def _failed(goal: Goal, tasks: Iterable[Any]) -> list[Any]:
    """The task that tells most; one is enough, for they fail alike."""
    of_goal = [task for task in tasks if task.task.revision == goal.revision and not task.ready]
    telling = [task for task in of_goal if task.status.log_tail or task.message or task.reason]
    telling.sort(
        key=lambda task: (bool(task.status.log_tail), bool(task.status.message), task.status.sequence)
    )
    return telling[-1:]


def _task_lines(view: Any) -> list[str]:
    identity = view.task.id
    name = f"{identity.service}.{identity.slot}.{identity.attempt}"
    node = f" on {view.task.node}" if view.task.node else ""
    lines = [f"  {name}{node}: {words.state(view).lower()}" + (f", {view.reason}" if view.reason else "")]
    message = view.status.message or view.message
    lines += [f"    {message}"] if message else []
    for each in view.status.containers:
        lines += [f"    container {each.name}: {ending}" for ending in _endings(each)]
    tail = list(view.status.log_tail)[-_MOST_LOG_LINES:]
    if tail:
        lines += ["    its last lines:", *(f"    | {text}" for text in tail)]
    return lines


def _endings(container: Any) -> list[str]:
    found = []
    if container.oom_killed:
        found.append("killed: out of memory (raise resources.limits.memory)")
    elif container.exit_signal:
        found.append(f"killed by signal {container.exit_signal}")
    elif container.HasField("exit_code") and container.state != "running":
        found.append(f"exit code {container.exit_code}")
    if container.message:
        found.append(container.message)
    return found


def _what_runs(goal: Goal, view: Any) -> str:
    stable = view.rollout.stable
    if view.rollout.phase == "paused":
        return f"  it was stopped where it stood ({view.ready}/{view.desired} ready): {view.rollout.waiting}"
    if stable and stable != goal.revision:
        return f"  rolled back: revision {stable} runs, {view.ready}/{view.desired} ready"
    return f"  {view.ready}/{view.desired} ready"
