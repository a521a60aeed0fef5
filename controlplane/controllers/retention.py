"""What is over is forgotten after a while, and never so that a task's uid could return.

Kept: of each wanted slot the last few that finished; revisions within the history limit and those in use.
"""

from collections.abc import Iterator
from dataclasses import replace

from controlplane.cluster.change import (
    Change,
    ForgetRevision,
    ForgetService,
    ForgetTask,
    SaveRollout,
    Waiting,
)
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import backoff, slots
from orch.model.names import ServiceName
from orch.model.rollout import Rollout
from orch.model.service import Service
from orch.model.task import Task, Wanted

FINISHED_KEPT_PER_SLOT = backoff.FAILURES_COUNTED


def decide(cluster: Cluster, name: ServiceName, _now: float) -> Iterator[Change]:
    """Tasks, then revisions, then the service itself."""
    service = cluster.service(name)
    forgotten = list(_finished(cluster, name, service))
    rollout = cluster.rollout(name)
    if rollout is not None:
        yield from _raised(rollout, forgotten)
    for task in forgotten:
        yield ForgetTask(task.id)
    if service is None:
        return
    if service.deleted:
        yield from _deleted(cluster, service, len(forgotten))
    elif rollout is not None:
        yield from _old_revisions(cluster, service, rollout)


def _finished(cluster: Cluster, name: ServiceName, service: Service | None) -> Iterator[Task]:
    """Everything over that no wanted slot keeps, in order of slot and attempt."""
    if not any(_is_over(cluster, task) for task in cluster.tasks.get(name, {}).values()):
        return
    over = [task for task in cluster.tasks_of(name) if _is_over(cluster, task)]
    kept: set[Task] = set()
    if service is not None and not service.deleted:
        layout = slots.read(cluster, service)
        for slot in (*layout.wanted.values(), *layout.resting):
            finished = [task for task in slot.past if cluster.has_finished(task) and task.node]
            kept.update(finished[-FINISHED_KEPT_PER_SLOT:])
    yield from (task for task in over if task not in kept)


def _is_over(cluster: Cluster, task: Task) -> bool:
    """Finished; or retired, and its node was removed from the cluster, so that nobody will ever report it."""
    if cluster.has_finished(task):
        return True
    return task.wanted is Wanted.STOP and cluster.node(task.node) is None


def _raised(rollout: Rollout, forgotten: list[Task]) -> Iterator[Change]:
    """In the same breath, and before: attempts go on above whatever was forgotten."""
    attempts = [task.id.attempt for task in forgotten if task.id.birth == rollout.birth]
    greatest = max(attempts, default=0)
    if greatest > rollout.forgotten_attempt:
        yield SaveRollout(replace(rollout, forgotten_attempt=greatest))


def _old_revisions(cluster: Cluster, service: Service, rollout: Rollout) -> Iterator[Change]:
    newest_first = sorted(cluster.revisions_of(service.name), reverse=True)
    old = newest_first[service.spec.rollout.history_limit :]
    if not old:
        return
    used = {task.revision for task in cluster.tasks_of(service.name)}
    used |= {rollout.stable, rollout.target, service.revision}
    for number in reversed(old):
        if number not in used:
            yield ForgetRevision(service.name, number)


def _deleted(cluster: Cluster, service: Service, forgotten: int) -> Iterator[Change]:
    left = cluster.tasks_of(service.name)
    if len(left) == forgotten:
        yield ForgetService(service.name)
        return
    stopping = [task for task in left if not cluster.has_finished(task)]
    nodes = sorted({task.node for task in stopping if cluster.is_lost(task)})
    away = f"; {', '.join(nodes)} down, remove it if it will not come back" if nodes else ""
    yield Waiting(service.name, f"deleted; {len(stopping)} tasks are still stopping{away}")
