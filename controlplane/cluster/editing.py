"""How the picture changes: one edit for each thing that can be written to the store.

An edit returns another picture, which shares with the first whatever is the same. What is derived (tasks by node,
resources allocated) is kept in step here, and nowhere else. Deciders only look: they have no use for this file.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from immutables import Map

from controlplane.cluster.snapshot import Cluster
from orch.model.cluster import ClusterIdentity
from orch.model.config import Config, Namespace, Secret
from orch.model.names import ObjectName, ServiceName, TaskId
from orch.model.node import Node, NodeSpec, NodeStatus
from orch.model.resources import Resources
from orch.model.rollout import Rollout
from orch.model.service import Revision, Service
from orch.model.task import Task, TaskStatus

_NOTHING: Map[Any, Any] = Map()
_NO_RESOURCES = Resources()
_Outer = TypeVar("_Outer")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


# ── services ───────────────────────────────────────────────────────────────────────────────────────────


def with_identity(cluster: Cluster, identity: ClusterIdentity) -> Cluster:
    return replace(cluster, identity=identity)


def with_service(cluster: Cluster, service: Service) -> Cluster:
    return replace(cluster, services=cluster.services.set(service.name, service))


def without_service(cluster: Cluster, name: ServiceName) -> Cluster:
    return replace(cluster, services=_less(cluster.services, name))


def with_revision(cluster: Cluster, revision: Revision) -> Cluster:
    """A revision written anew (after delete and re-apply) also changes what its tasks hold."""
    name, requests = revision.service, revision.template.requests
    known = cluster.revisions_of(name).set(revision.number, revision)
    return replace(
        cluster,
        revisions=cluster.revisions.set(name, known),
        requests=cluster.requests.set((name, revision.number), requests),
        allocated=_reallocated(cluster, name, revision.number, requests),
    )


def without_revision(cluster: Cluster, name: ServiceName, number: int) -> Cluster:
    return replace(
        cluster,
        revisions=_nested_less(cluster.revisions, name, number),
        requests=_less(cluster.requests, (name, number)),
        allocated=_reallocated(cluster, name, number, _NO_RESOURCES),
    )


def with_rollout(cluster: Cluster, rollout: Rollout) -> Cluster:
    return replace(cluster, rollouts=cluster.rollouts.set(rollout.service, rollout))


def without_rollout(cluster: Cluster, name: ServiceName) -> Cluster:
    return replace(cluster, rollouts=_less(cluster.rollouts, name))


# ── tasks ──────────────────────────────────────────────────────────────────────────────────────────────


def with_task(cluster: Cluster, task: Task) -> Cluster:
    """The desired side of a task, new or changed."""
    owner = task.id.owner
    of_service = cluster.tasks.get(owner, _NOTHING)
    old = of_service.get(task.id)
    by_node, allocated = cluster.by_node, cluster.allocated
    if old is not None and old.node:
        allocated = _released(cluster, allocated, old)
        if old.node != task.node:
            by_node = _nested_less(by_node, old.node, old.id)
    if task.node:
        by_node = by_node.set(task.node, by_node.get(task.node, _NOTHING).set(task.id, task))
        allocated = _taken(cluster, allocated, task)
    tasks = cluster.tasks.set(owner, of_service.set(task.id, task))
    return replace(cluster, tasks=tasks, by_node=by_node, allocated=allocated)


def without_task(cluster: Cluster, task: TaskId) -> Cluster:
    """Forgets its desired side. Its status and claims have keys, and edits, of their own."""
    old = cluster.task(task)
    if old is None:
        return cluster
    tasks = _nested_less(cluster.tasks, task.owner, task)
    if not old.node:
        return replace(cluster, tasks=tasks)
    by_node = _nested_less(cluster.by_node, old.node, task)
    return replace(
        cluster, tasks=tasks, by_node=by_node, allocated=_released(cluster, cluster.allocated, old)
    )


def with_status(cluster: Cluster, status: TaskStatus) -> Cluster:
    """The observed side of a task; a finished one gives back what it held."""
    return _with_statuses(cluster, cluster.statuses.set(status.id, status), status.id)


def without_status(cluster: Cluster, task: TaskId) -> Cluster:
    return _with_statuses(cluster, _less(cluster.statuses, task), task)


def with_claim(cluster: Cluster, words: str, task: TaskId) -> Cluster:
    """A published port: `node/host_ip:port/protocol`, as in AssignTask.ports."""
    node, _, port = words.partition("/")
    return replace(
        cluster, claims=cluster.claims.set(node, cluster.claims.get(node, _NOTHING).set(port, task))
    )


def without_claim(cluster: Cluster, words: str) -> Cluster:
    node, _, port = words.partition("/")
    return replace(cluster, claims=_nested_less(cluster.claims, node, port))


# ── nodes and the rest ─────────────────────────────────────────────────────────────────────────────────


def with_node_spec(cluster: Cluster, spec: NodeSpec) -> Cluster:
    known = cluster.nodes.get(spec.name)
    node = Node(spec, known.status if known else NodeStatus(spec.name))
    return replace(cluster, nodes=cluster.nodes.set(spec.name, node))


def with_node_status(cluster: Cluster, status: NodeStatus) -> Cluster:
    known = cluster.nodes.get(status.name)
    node = Node(known.spec if known else NodeSpec(status.name), status)
    return replace(cluster, nodes=cluster.nodes.set(status.name, node))


def without_node(cluster: Cluster, name: str) -> Cluster:
    """The node is no longer part of the cluster; whatever was given to it is lost."""
    return replace(cluster, nodes=_less(cluster.nodes, name))


def with_subnet(cluster: Cluster, index: int, node: str) -> Cluster:
    return replace(cluster, subnets=cluster.subnets.set(index, node))


def without_subnet(cluster: Cluster, index: int) -> Cluster:
    return replace(cluster, subnets=_less(cluster.subnets, index))


def with_virtual_address(cluster: Cluster, address: str, name: ServiceName) -> Cluster:
    known = cluster.addresses_by_service.get(name, ())
    return replace(
        cluster,
        addresses=cluster.addresses.set(address, name),
        addresses_by_service=cluster.addresses_by_service.set(name, tuple(sorted({*known, address}))),
    )


def without_virtual_address(cluster: Cluster, address: str) -> Cluster:
    name = cluster.addresses.get(address)
    if name is None:
        return cluster
    left = tuple(each for each in cluster.addresses_by_service.get(name, ()) if each != address)
    by_service = cluster.addresses_by_service
    return replace(
        cluster,
        addresses=_less(cluster.addresses, address),
        addresses_by_service=by_service.set(name, left) if left else _less(by_service, name),
    )


def with_config(cluster: Cluster, config: Config) -> Cluster:
    return replace(cluster, configs=cluster.configs.set(config.name, config))


def without_config(cluster: Cluster, name: ObjectName) -> Cluster:
    return replace(cluster, configs=_less(cluster.configs, name))


def with_secret(cluster: Cluster, secret: Secret) -> Cluster:
    return replace(cluster, secrets=cluster.secrets.set(secret.name, secret))


def without_secret(cluster: Cluster, name: ObjectName) -> Cluster:
    return replace(cluster, secrets=_less(cluster.secrets, name))


def with_namespace(cluster: Cluster, namespace: Namespace) -> Cluster:
    return replace(cluster, namespaces=cluster.namespaces.set(namespace.name, namespace))


def without_namespace(cluster: Cluster, name: str) -> Cluster:
    return replace(cluster, namespaces=_less(cluster.namespaces, name))


def at(
    cluster: Cluster,
    revision: int,
    written: Mapping[str, int | None] = _NOTHING,
    newer: Mapping[str, bytes] = _NOTHING,
) -> Cluster:
    """The same picture, now of `revision`; `written` are keys with their last write, None if deleted.

    `newer` are those of them that a newer program wrote.
    """
    if not written:
        return replace(cluster, revision=revision)
    modified, kept = cluster.modified, cluster.newer
    for key, at in written.items():
        modified = _less(modified, key) if at is None else modified.set(key, at)
    if kept or newer:
        for key in written:
            kept = kept.set(key, newer[key]) if key in newer else _less(kept, key)
    return replace(cluster, revision=revision, modified=modified, newer=kept)


# ── what keeps the derived parts in step ───────────────────────────────────────────────────────────────


def _with_statuses(cluster: Cluster, statuses: Map[TaskId, TaskStatus], changed: TaskId) -> Cluster:
    task = cluster.task(changed)
    if task is None or not task.node:
        return replace(cluster, statuses=statuses)
    held = not _is_over(cluster, changed)
    status = statuses.get(changed)
    holds = status is None or not status.state.is_final
    if held == holds:
        return replace(cluster, statuses=statuses)
    requested, allocated = cluster.requested_by(task), cluster.allocated_on(task.node)
    allocated = allocated + requested if holds else allocated - requested
    return replace(cluster, statuses=statuses, allocated=cluster.allocated.set(task.node, allocated))


def _taken(cluster: Cluster, allocated: Map[str, Resources], task: Task) -> Map[str, Resources]:
    if _is_over(cluster, task.id):
        return allocated
    requested = cluster.requested_by(task)
    return allocated.set(task.node, allocated.get(task.node, _NO_RESOURCES) + requested)


def _released(cluster: Cluster, allocated: Map[str, Resources], task: Task) -> Map[str, Resources]:
    if _is_over(cluster, task.id):
        return allocated
    requested = cluster.requested_by(task)
    return allocated.set(task.node, allocated.get(task.node, _NO_RESOURCES) - requested)


def _is_over(cluster: Cluster, task: TaskId) -> bool:
    status = cluster.statuses.get(task)
    return status is not None and status.state.is_final


def _reallocated(
    cluster: Cluster, name: ServiceName, revision: int, requests: Resources
) -> Map[str, Resources]:
    before = cluster.requests.get((name, revision), _NO_RESOURCES)
    if before == requests:
        return cluster.allocated
    allocated = cluster.allocated
    for task in cluster.tasks.get(name, _NOTHING).values():
        if task.revision == revision and task.node and not _is_over(cluster, task.id):
            now = allocated.get(task.node, _NO_RESOURCES) - before + requests
            allocated = allocated.set(task.node, now)
    return allocated


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
