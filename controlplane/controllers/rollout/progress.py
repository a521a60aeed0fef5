"""How far a revision is, what fails, and since when nothing moved.

An instance gets further when it becomes available; being made, placed or restarted is no progress, or a crash
loop would never meet its deadline.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import backoff
from controlplane.controllers.slots import Slot
from orch.model.names import ServiceName
from orch.model.task import Task, TaskState, Wanted

BROKEN = (TaskState.FAILED, TaskState.REJECTED)


@dataclass(slots=True)
class Progress:
    """Of one revision in some slots."""

    slots: int = 0
    settled: int = 0
    """Slots that have an available task of the revision where it belongs, and nothing else."""
    latest: float = 0.0
    """When an instance last got further; 0 if none has."""
    broken: Task | None = None
    """The first task of the revision that cannot run any more."""
    behind: list[Task] = field(default_factory=list)
    """Tasks of the revision that are not available, though their node is heard from."""
    lost: list[Task] = field(default_factory=list)
    """Tasks of the revision whose node is down."""

    @property
    def is_complete(self) -> bool:
        return self.settled == self.slots


def measure(
    cluster: Cluster, of: Iterable[Slot], revision: int, now: float, since: float, nodes: dict[int, str]
) -> Progress:
    """`since`: that tasks made before have failed is old news. `nodes`: slots that belong on one node."""
    progress = Progress()
    for slot in of:
        progress.slots += 1
        for task in (*slot.past, *slot.live):
            if task.revision == revision:
                _look_at(cluster, task, now, since, progress)
        progress.settled += _is_settled(cluster, slot, revision, now, nodes.get(slot.number, ""))
    return progress


def why_behind(cluster: Cluster, name: ServiceName, progress: Progress) -> str:
    """One sentence: the task that is worst, and what its node says of it."""
    if progress.broken is not None:
        return describe(cluster, progress.broken)
    if progress.behind:
        return describe(cluster, max(progress.behind, key=lambda task: _badness(cluster, task)))
    return f"only {progress.settled} of {progress.slots} instances of {name} are available"


def describe(cluster: Cluster, task: Task) -> str:
    """`web.2.3 is in backoff: CrashLoop: exited with 1`."""
    status, state = cluster.status(task.id), cluster.state(task.id).name.lower()
    reason = ": ".join(word for word in (status.reason, status.message) if word) if status else ""
    if not reason and state == "running":
        reason = "not ready"
    if not reason and state == "pending":
        reason = "no node takes it"
    return f"{task.id} is {state}" + (f": {reason}" if reason else "")


def _look_at(cluster: Cluster, task: Task, now: float, since: float, progress: Progress) -> None:
    available_at = cluster.available_at(task)
    if available_at is not None and available_at <= now:
        progress.latest = max(progress.latest, available_at)
    elif not cluster.is_live(task):
        broken = task.wanted is Wanted.RUN and cluster.state(task.id) in BROKEN
        if broken and task.created_at >= since and progress.broken is None:
            progress.broken = task
    elif cluster.is_lost(task):
        progress.lost.append(task)
    else:
        progress.behind.append(task)


def _is_settled(cluster: Cluster, slot: Slot, revision: int, now: float, node: str) -> bool:
    if not slot.live:
        return _is_done(cluster, slot.past, revision)
    only = slot.live[0]
    on_its_node = not node or only.node == node
    fits = only.revision == revision and on_its_node and cluster.is_available(only, now)
    return fits and slot.successor is None


def _is_done(cluster: Cluster, past: Sequence[Task], revision: int) -> bool:
    """Its task ended well and is not to run again."""
    template = cluster.template(past[-1].id.owner, revision) if past else None
    return template is not None and backoff.due(cluster, past, revision, template).done


def _badness(cluster: Cluster, task: Task) -> tuple[bool, int, int]:
    status = cluster.status(task.id)
    if status is None:
        return (False, 0, 0)
    return (bool(status.reason), status.restarts, int(status.state is TaskState.BACKOFF))
