"""The picture: everything known of the cluster at one revision of the store.

Immutable, with shared structure: an edit returns a new picture and costs what the edit costs, whatever the
size of the cluster. What is derived (tasks by node, resources allocated) is kept in step by the same edits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from immutables import Map

from orch.model.cluster import ClusterIdentity
from orch.model.config import Config, Namespace, Secret
from orch.model.names import ObjectName, ServiceName, TaskId
from orch.model.node import Condition, Node, NodeSpec, NodeStatus
from orch.model.resources import Resources
from orch.model.rollout import Rollout
from orch.model.service import Revision, Service, TaskTemplate
from orch.model.task import Task, TaskState, TaskStatus, Wanted

EVERY_NODE = "*"
"""In claims of ports: published on every node, and held by the service itself (see `holder_of`)."""

_NOTHING: Map[Any, Any] = Map()
_NO_RESOURCES = Resources()
_Outer = TypeVar("_Outer")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """Look-ups answer from the picture; the `with_…` and `without_…` edits return another one."""

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

    # ── look-ups: services ───────────────────────────────────────────────────────────────────────────────

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

    # ── look-ups: tasks ──────────────────────────────────────────────────────────────────────────────────

    def virtual_addresses(self, name: ServiceName) -> tuple[str, ...]:
        """Where the service is reached; empty until it has been looked at."""
        return self.addresses_by_service.get(name, ())

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

    # ── look-ups: health ─────────────────────────────────────────────────────────────────────────────────

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

    # ── edits: services ──────────────────────────────────────────────────────────────────────────────────

    def with_identity(self, identity: ClusterIdentity) -> Self:
        return replace(self, identity=identity)

    def with_service(self, service: Service) -> Self:
        return replace(self, services=self.services.set(service.name, service))

    def without_service(self, name: ServiceName) -> Self:
        return replace(self, services=_less(self.services, name))

    def with_revision(self, revision: Revision) -> Self:
        """A revision written anew (after delete and re-apply) also changes what its tasks hold."""
        name, requests = revision.service, revision.template.requests
        known = self.revisions_of(name).set(revision.number, revision)
        return replace(
            self,
            revisions=self.revisions.set(name, known),
            requests=self.requests.set((name, revision.number), requests),
            allocated=self._reallocated(name, revision.number, requests),
        )

    def without_revision(self, name: ServiceName, number: int) -> Self:
        return replace(
            self,
            revisions=_nested_less(self.revisions, name, number),
            requests=_less(self.requests, (name, number)),
            allocated=self._reallocated(name, number, _NO_RESOURCES),
        )

    def with_rollout(self, rollout: Rollout) -> Self:
        return replace(self, rollouts=self.rollouts.set(rollout.service, rollout))

    def without_rollout(self, name: ServiceName) -> Self:
        return replace(self, rollouts=_less(self.rollouts, name))

    # ── edits: tasks ─────────────────────────────────────────────────────────────────────────────────────

    def with_task(self, task: Task) -> Self:
        """The desired side of a task, new or changed."""
        owner = task.id.owner
        of_service = self.tasks.get(owner, _NOTHING)
        old = of_service.get(task.id)
        by_node, allocated = self.by_node, self.allocated
        if old is not None and old.node:
            allocated = self._released(allocated, old)
            if old.node != task.node:
                by_node = _nested_less(by_node, old.node, old.id)
        if task.node:
            by_node = by_node.set(task.node, by_node.get(task.node, _NOTHING).set(task.id, task))
            allocated = self._taken(allocated, task)
        tasks = self.tasks.set(owner, of_service.set(task.id, task))
        return replace(self, tasks=tasks, by_node=by_node, allocated=allocated)

    def without_task(self, task: TaskId) -> Self:
        """Forgets its desired side. Its status and claims have keys, and edits, of their own."""
        old = self.task(task)
        if old is None:
            return self
        tasks = _nested_less(self.tasks, task.owner, task)
        if not old.node:
            return replace(self, tasks=tasks)
        by_node = _nested_less(self.by_node, old.node, task)
        return replace(self, tasks=tasks, by_node=by_node, allocated=self._released(self.allocated, old))

    def with_status(self, status: TaskStatus) -> Self:
        """The observed side of a task; a finished one gives back what it held."""
        return self._with_statuses(self.statuses.set(status.id, status), status.id)

    def without_status(self, task: TaskId) -> Self:
        return self._with_statuses(_less(self.statuses, task), task)

    def with_claim(self, words: str, task: TaskId) -> Self:
        """A published port: `node/host_ip:port/protocol`, as in AssignTask.ports."""
        node, _, port = words.partition("/")
        return replace(self, claims=self.claims.set(node, self.claims.get(node, _NOTHING).set(port, task)))

    def without_claim(self, words: str) -> Self:
        node, _, port = words.partition("/")
        return replace(self, claims=_nested_less(self.claims, node, port))

    # ── edits: nodes and the rest ────────────────────────────────────────────────────────────────────────

    def with_node_spec(self, spec: NodeSpec) -> Self:
        known = self.nodes.get(spec.name)
        node = Node(spec, known.status if known else NodeStatus(spec.name))
        return replace(self, nodes=self.nodes.set(spec.name, node))

    def with_node_status(self, status: NodeStatus) -> Self:
        known = self.nodes.get(status.name)
        node = Node(known.spec if known else NodeSpec(status.name), status)
        return replace(self, nodes=self.nodes.set(status.name, node))

    def without_node(self, name: str) -> Self:
        """The node is no longer part of the cluster; whatever was given to it is lost."""
        return replace(self, nodes=_less(self.nodes, name))

    def with_subnet(self, index: int, node: str) -> Self:
        return replace(self, subnets=self.subnets.set(index, node))

    def without_subnet(self, index: int) -> Self:
        return replace(self, subnets=_less(self.subnets, index))

    def with_virtual_address(self, address: str, name: ServiceName) -> Self:
        known = self.addresses_by_service.get(name, ())
        return replace(
            self,
            addresses=self.addresses.set(address, name),
            addresses_by_service=self.addresses_by_service.set(name, tuple(sorted({*known, address}))),
        )

    def without_virtual_address(self, address: str) -> Self:
        name = self.addresses.get(address)
        if name is None:
            return self
        left = tuple(each for each in self.addresses_by_service.get(name, ()) if each != address)
        by_service = self.addresses_by_service
        return replace(
            self,
            addresses=_less(self.addresses, address),
            addresses_by_service=by_service.set(name, left) if left else _less(by_service, name),
        )

    def with_config(self, config: Config) -> Self:
        return replace(self, configs=self.configs.set(config.name, config))

    def without_config(self, name: ObjectName) -> Self:
        return replace(self, configs=_less(self.configs, name))

    def with_secret(self, secret: Secret) -> Self:
        return replace(self, secrets=self.secrets.set(secret.name, secret))

    def without_secret(self, name: ObjectName) -> Self:
        return replace(self, secrets=_less(self.secrets, name))

    def with_namespace(self, namespace: Namespace) -> Self:
        return replace(self, namespaces=self.namespaces.set(namespace.name, namespace))

    def without_namespace(self, name: str) -> Self:
        return replace(self, namespaces=_less(self.namespaces, name))

    def at(
        self,
        revision: int,
        written: Mapping[str, int | None] = _NOTHING,
        newer: Mapping[str, bytes] = _NOTHING,
    ) -> Self:
        """The same picture, now of `revision`; `written` are keys with their last write, None if deleted.

        `newer` are those of them that a newer program wrote.
        """
        if not written:
            return replace(self, revision=revision)
        modified, kept = self.modified, self.newer
        for key, at in written.items():
            modified = _less(modified, key) if at is None else modified.set(key, at)
        if kept or newer:
            for key in written:
                kept = kept.set(key, newer[key]) if key in newer else _less(kept, key)
        return replace(self, revision=revision, modified=modified, newer=kept)

    # ── what keeps the derived parts in step ─────────────────────────────────────────────────────────────

    def _ready_status(self, task: Task) -> TaskStatus | None:
        if task.wanted is not Wanted.RUN or self.is_lost(task):
            return None
        status = self.statuses.get(task.id)
        if status is None or not status.ready or status.state is not TaskState.RUNNING:
            return None
        return status

    def _with_statuses(self, statuses: Map[TaskId, TaskStatus], changed: TaskId) -> Self:
        task = self.task(changed)
        if task is None or not task.node:
            return replace(self, statuses=statuses)
        held = not self._is_over(changed)
        status = statuses.get(changed)
        holds = status is None or not status.state.is_final
        if held == holds:
            return replace(self, statuses=statuses)
        requested, allocated = self.requested_by(task), self.allocated_on(task.node)
        allocated = allocated + requested if holds else allocated - requested
        return replace(self, statuses=statuses, allocated=self.allocated.set(task.node, allocated))

    def _taken(self, allocated: Map[str, Resources], task: Task) -> Map[str, Resources]:
        if self._is_over(task.id):
            return allocated
        requested = self.requested_by(task)
        return allocated.set(task.node, allocated.get(task.node, _NO_RESOURCES) + requested)

    def _released(self, allocated: Map[str, Resources], task: Task) -> Map[str, Resources]:
        if self._is_over(task.id):
            return allocated
        requested = self.requested_by(task)
        return allocated.set(task.node, allocated.get(task.node, _NO_RESOURCES) - requested)

    def _is_over(self, task: TaskId) -> bool:
        status = self.statuses.get(task)
        return status is not None and status.state.is_final

    def _reallocated(self, name: ServiceName, revision: int, requests: Resources) -> Map[str, Resources]:
        before = self.requests.get((name, revision), _NO_RESOURCES)
        if before == requests:
            return self.allocated
        allocated = self.allocated
        for task in self.tasks.get(name, _NOTHING).values():
            if task.revision == revision and task.node and not self._is_over(task.id):
                now = allocated.get(task.node, _NO_RESOURCES) - before + requests
                allocated = allocated.set(task.node, now)
        return allocated


def holder_of(name: ServiceName) -> TaskId:
    """Who holds the claims that are the service's own and no task's."""
    return TaskId(name.namespace, name.name, 0, 0, 0)


def _by_slot(task: Task) -> tuple[int, int, int]:
    return (task.id.birth, task.id.slot, task.id.attempt)


def _less(known: Map[_Key, _Value], key: _Key) -> Map[_Key, _Value]:
    return known.delete(key) if key in known else known


def _nested_less(
    known: Map[_Outer, Map[_Key, _Value]], outer: _Outer, key: _Key
) -> Map[_Outer, Map[_Key, _Value]]:
    """Without the inner key; an outer key with nothing left goes too."""
    inner = known.get(outer)
    if inner is None or key not in inner:
        return known
    rest = inner.delete(key)
    return known.set(outer, rest) if rest else known.delete(outer)
