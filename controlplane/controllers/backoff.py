"""When an emptied slot is due again: later each time, and never when its task is done."""

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.cluster.snapshot import Cluster
from orch.model.service import TaskTemplate
from orch.model.task import Task, TaskState, Wanted

FAILURES_COUNTED = 4
"""After so many failures in a row, which is how many retention keeps, the wait is the longest one."""


@dataclass(frozen=True, slots=True)
class Due:
    """When a slot may get another task."""

    at: float | None
    """None is never: what ended is not to run again."""
    reason: str = ""
    done: bool = False
    """It ended well and counts as available."""


NOW = Due(0.0)


def due(cluster: Cluster, past: Sequence[Task], revision: int, template: TaskTemplate) -> Due:
    """Asked of a slot's past before a task of `revision` is made. Another revision starts afresh."""
    failures = 0
    for task in reversed(past):
        if task.revision != revision or task.wanted is Wanted.STOP or not cluster.has_finished(task):
            break
        failures += 1
    if not failures:
        return NOW
    return _after(cluster, past[-1], min(failures, FAILURES_COUNTED), template)


def _after(cluster: Cluster, last: Task, failures: int, template: TaskTemplate) -> Due:
    restart, state = template.restart, cluster.state(last.id)
    if state is TaskState.COMPLETE and restart.policy != "always":
        return Due(None, f"{last.id} is complete", done=True)
    if state is TaskState.FAILED and restart.policy == "never":
        return Due(None, f"{last.id} failed, and its restart policy is never{_why(cluster, last)}")
    delay = min(restart.max_backoff, restart.backoff * 2 ** (failures - 1))
    if failures == FAILURES_COUNTED:
        delay = restart.max_backoff
    status = cluster.status(last.id)
    ended = status.finished_at if status and status.finished_at else last.assigned_at or last.created_at
    return Due(ended + delay, f"{last.id} {state.name.lower()}{_why(cluster, last)}")


def _why(cluster: Cluster, task: Task) -> str:
    status = cluster.status(task.id)
    words = (status.reason, status.message) if status else ()
    return "".join(f": {word}" for word in words if word)
