"""The picture: everything known of the cluster at one revision of the store.

Immutable, with shared structure: an edit (see `editing`) returns a new picture and costs what the edit costs,
whatever the size of the cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from immutables import Map

from orch.model.cluster import ClusterIdentity
from orch.model.config import Config, Namespace, Secret
from orch.model.names import ObjectName, ServiceName, TaskId
from orch.model.node import Condition, Node
from orch.model.resources import Resources
from orch.model.rollout import Rollout
from orch.model.service import Revision, Service, TaskTemplate
from orch.model.task import Task, TaskState, TaskStatus, Wanted

EVERY_NODE = "*"
"""In claims of ports: published on every node, and held by the service itself (see `holder_of`)."""

_NOTHING: Map[Any, Any] = Map()
_NO_RESOURCES = Resources()


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """What is stored, what follows from it, and what can be asked of both."""

    revision: int = 0
    """The store's revision that the picture is of."""
    identity: ClusterIdentity | None = None
    services: Map[ServiceName, Service] = _NOTHING
    revisions: Map[ServiceName, Map[int, Revision]] = _NOTHING
    rollouts: Map[ServiceName, Rollout] = _NOTHING
    tasks: Map[ServiceName, Map[TaskId, Task]] = _NOTHING
    """Desired sides, by service."""
    statuses: Map[TaskId, TaskStatus] = _NOTHING
    nodes: Map[str, Node] = _NOTHING
    configs: Map[ObjectName, Config] = _NOTHING
    secrets: Map[ObjectName, Secret] = _NOTHING
    namespaces: Map[str, Namespace] = _NOTHING
    claims: Map[str, Map[str, TaskId]] = _NOTHING
    """Published ports: node or EVERY_NODE → `host_ip:port/protocol` → the task that claimed it."""
    subnets: Map[int, str] = _NOTHING
    """Claimed places in the cluster's range → node."""
    addresses: Map[str, ServiceName] = _NOTHING
    """Claimed virtual addresses → service."""
    modified: Map[str, int] = _NOTHING
    """Key in the store → revision of its last write: what guards compare."""
    newer: Map[str, bytes] = _NOTHING
    """Key → what lies there, where a newer program wrote fields that this one does not know: to be kept."""
    by_node: Map[str, Map[TaskId, Task]] = _NOTHING
    """Derived: every task that has been given to the node and is not yet forgotten."""
    allocated: Map[str, Resources] = _NOTHING
    """Derived: what the unfinished tasks of a node hold."""
    requests: Map[tuple[ServiceName, int], Resources] = _NOTHING
    """Derived: what one task of a revision holds."""
    addresses_by_service: Map[ServiceName, tuple[str, ...]] = _NOTHING
    """Derived: the virtual addresses of a service."""

    # ── services ─────────────────────────────────────────────────────────────────────────────────────────

    def service(self, name: ServiceName) -> Service | None:
        return self.services.get(name)

    def rollout(self, name: ServiceName) -> Rollout | None:
        """The controller's memory of the service's present life; one of an earlier life does not count."""
        rollout, service = self.rollouts.get(name), self.services.get(name)
        if rollout is None or (service is not None and service.birth != rollout.birth):
            return None
        return rollout

    def revisions_of(self, name: ServiceName) -> Map[int, Revision]:
        return self.revisions.get(name, _NOTHING)

    def template(self, name: ServiceName, revision: int) -> TaskTemplate | None:
        """What a task of the revision is; None when the revision is not known."""
        found = self.revisions_of(name).get(revision)
        return found.template if found else None

    def virtual_addresses(self, name: ServiceName) -> tuple[str, ...]:
        """Where the service is reached; empty until it has been looked at."""
        return self.addresses_by_service.get(name, ())

    # ── tasks ────────────────────────────────────────────────────────────────────────────────────────────

    def task(self, task: TaskId) -> Task | None:
        return self.tasks.get(task.owner, _NOTHING).get(task)

    def tasks_of(self, name: ServiceName) -> list[Task]:
        """All of them, of every life, by slot and attempt."""
        return sorted(self.tasks.get(name, _NOTHING).values(), key=_by_slot)

    def tasks_on(self, node: str) -> list[Task]:
        """All that were given to the node, also those that have finished."""
        return list(self.by_node.get(node, _NOTHING).values())

    def all_tasks(self) -> Iterator[Task]:
        """Of all services, in no order."""
        for tasks in self.tasks.values():
            yield from tasks.values()

    def status(self, task: TaskId) -> TaskStatus | None:
        return self.statuses.get(task)

    def state(self, task: TaskId) -> TaskState:
        """What the node last said; before it spoke, what follows from the desired side."""
        status = self.statuses.get(task)
        if status is not None:
            return status.state
        desired = self.task(task)
        if desired is None or not desired.node:
            gone = desired is None or desired.wanted is Wanted.STOP
            return TaskState.COMPLETE if gone else TaskState.PENDING
        return TaskState.ASSIGNED

    def is_live(self, task: Task) -> bool:
        """It is wanted, and it has not finished."""
        if task.wanted is not Wanted.RUN:
            return False
        status = self.statuses.get(task.id)
        return status is None or not status.state.is_final

    def has_finished(self, task: Task) -> bool:
        """Nothing of it runs any more, and nothing will."""
        status = self.statuses.get(task.id)
        if status is not None:
            return status.state.is_final
        return task.wanted is Wanted.STOP and not task.node

    def pending(self, name: ServiceName) -> list[Task]:
        """Wanted tasks of the service that wait for a node."""
        waiting = (task for task in self.tasks.get(name, _NOTHING).values() if not task.node)
        return sorted((task for task in waiting if task.wanted is Wanted.RUN), key=_by_slot)

    # ── health ───────────────────────────────────────────────────────────────────────────────────────────

    def node(self, name: str) -> Node | None:
        return self.nodes.get(name)

    def is_lost(self, task: Task) -> bool:
        """It was given to a node that is down, or that is no longer part of the cluster."""
        if not task.node:
            return False
        node = self.nodes.get(task.node)
        return node is None or node.status.condition is Condition.DOWN

    def is_ready(self, task: Task) -> bool:
        """It runs, is well, is wanted, and its node is heard from."""
        return self._ready_status(task) is not None

    def available_at(self, task: Task) -> float | None:
        """The instant at which it has been ready for the service's minReady; None while it is not ready."""
        status = self._ready_status(task)
        if status is None:
            return None
        service = self.services.get(task.id.owner)
        return status.ready_since + (service.spec.rollout.min_ready if service else 0.0)

    def is_available(self, task: Task, now: float) -> bool:
        """It has been ready for long enough to count."""
        at = self.available_at(task)
        return at is not None and at <= now

    def allocated_on(self, node: str) -> Resources:
        """What the unfinished tasks of the node hold."""
        return self.allocated.get(node, _NO_RESOURCES)

    def requested_by(self, task: Task) -> Resources:
        """What the task holds on its node."""
        return self.requests.get((task.id.owner, task.revision), _NO_RESOURCES)

    def _ready_status(self, task: Task) -> TaskStatus | None:
        if task.wanted is not Wanted.RUN or self.is_lost(task):
            return None
        status = self.statuses.get(task.id)
        if status is None or not status.ready or status.state is not TaskState.RUNNING:
            return None
        return status


def holder_of(name: ServiceName) -> TaskId:
    """Who holds the claims that are the service's own and no task's."""
    return TaskId(name.namespace, name.name, 0, 0, 0)


def _by_slot(task: Task) -> tuple[int, int, int]:
    return (task.id.birth, task.id.slot, task.id.attempt)
