"""The kinds of objects that can be read: which there are, which a request means, and how each is shown."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.api import endpoint_views, errors, views
from controlplane.cluster import snapshot, traffic
from controlplane.controllers import slots
from controlplane.loop import picture
from controlplane.store import codec, keys
from orch import wire
from orch.model import selector
from orch.model.names import ObjectName, ServiceName, TaskId
from orch.model.task import Task
from orch.v1 import control_pb2 as pb

Identity = Any
"""A name, a task's id, (service, revision) or an event's key: whatever tells two objects of a kind apart."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where views come from."""

    picture: picture.Picture
    reasons: Callable[[ServiceName], views.Reasons]
    heartbeat_age: Callable[[str], float]
    traffic_of: Callable[[ServiceName], list[tuple[int, traffic.Window]]] = lambda _: []
    """Of the last minute, by revision."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    identities: Callable[[Source], Iterable[Identity]]
    is_meant: Callable[[Source, Identity, Any], bool]
    """Whether the request (a GetRequest) means the object, and it still exists."""
    show: Callable[[Source, Identity], pb.Object]
    refer: Callable[[Identity], pb.Reference]
    touched_by: Callable[[Source, picture.Touched], Iterator[Identity]]
    """Objects that may look different after a step."""


def _labels_match(request: Any, labels: Mapping[str, str]) -> bool:
    try:
        return selector.parse(request.selector).matches(labels)
    except ValueError as error:
        raise errors.Invalid(str(error)) from None


def _is_named(request: Any, namespace: str, name: str) -> bool:
    return request.namespace in {"", namespace} and (not request.names or name in request.names)


# ── services and their revisions ─────────────────────────────────────────────────────────────────────────


def _service_is_meant(source: Source, name: ServiceName, request: Any) -> bool:
    service = source.picture.cluster.service(name)
    return service is not None and _is_named(request, *name) and _labels_match(request, service.labels)


def _show_service(source: Source, name: ServiceName) -> pb.Object:
    cluster = source.picture.cluster
    service = cluster.services[name]
    return pb.Object(
        service=views.service_view(cluster, service, source.reasons(name), source.traffic_of(name))
    )


def _services_touched(source: Source, touched: picture.Touched) -> Iterator[ServiceName]:
    yield from touched.services
    for node in touched.nodes:
        yield from {task.id.owner for task in source.picture.cluster.tasks_on(node)}


def _show_endpoints(source: Source, name: ServiceName) -> pb.Object:
    return pb.Object(endpoints=endpoint_views.view(source.picture.cluster, name, source.reasons(name)))


def _endpoints_touched(source: Source, touched: picture.Touched) -> Iterator[ServiceName]:
    yield from touched.endpoints
    yield from _services_touched(source, touched)


def _revisions(source: Source) -> Iterator[tuple[ServiceName, int]]:
    for name, known in sorted(source.picture.cluster.revisions.items()):
        for number in sorted(known):
            yield name, number


def _revision_is_meant(source: Source, identity: tuple[ServiceName, int], request: Any) -> bool:
    name, number = identity
    return number in source.picture.cluster.revisions_of(name) and _is_named(request, *name)


def _show_revision(source: Source, identity: tuple[ServiceName, int]) -> pb.Object:
    cluster = source.picture.cluster
    return pb.Object(revision=views.revision_view(cluster, cluster.revisions_of(identity[0])[identity[1]]))


def _revisions_touched(source: Source, touched: picture.Touched) -> Iterator[tuple[ServiceName, int]]:
    for name in touched.services:
        yield from ((name, number) for number in source.picture.cluster.revisions_of(name))
    for key in touched.keys:
        if key.startswith(keys.REVISIONS):
            yield codec.name_of(key, keys.REVISIONS), int(key[key.rfind("/") + 1 :])


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────


def _tasks(source: Source) -> Iterator[TaskId]:
    yield from sorted(task.id for task in source.picture.cluster.all_tasks())


def task_is_named(task: TaskId, names: Iterable[str]) -> bool:
    """By service, slot, slot and attempt, or key; no names mean every task."""
    wanted = list(names)
    return not wanted or any(name in {task.service, task.name, task.full_name, task.key} for name in wanted)


def _task_is_meant(source: Source, identity: TaskId, request: Any) -> bool:
    cluster = source.picture.cluster
    task = cluster.task(identity)
    if task is None or request.namespace not in {"", identity.namespace}:
        return False
    service = cluster.service(identity.owner)
    labels = service.labels if service is not None else {}
    if not task_is_named(identity, request.names) or not _labels_match(request, labels):
        return False
    return request.all or not cluster.has_finished(task) or _speaks_for_its_slot(cluster, task)


def _speaks_for_its_slot(cluster: snapshot.Cluster, task: Task) -> bool:
    """It has finished, and nothing has taken its place: without it the slot would be missing."""
    service = cluster.service(task.id.owner)
    if service is None or service.deleted or service.birth != task.id.birth:
        return False
    slot = _layout(cluster, service.name).wanted.get(task.id.slot)
    return slot is not None and not slot.live and slot.latest == task


@functools.lru_cache(maxsize=1)
def _layout(cluster: snapshot.Cluster, name: ServiceName) -> slots.Layout:
    """Looks at all tasks of the service: in a listing, where these come one after the other, once for all."""
    return slots.read(cluster, cluster.services[name])


def _show_task(source: Source, identity: TaskId) -> pb.Object:
    cluster = source.picture.cluster
    task = cluster.task(identity)
    assert task is not None  # noqa: S101  is_meant said so
    return pb.Object(task=views.task_view(cluster, task, source.reasons(identity.owner)))


def _tasks_touched(source: Source, touched: picture.Touched) -> Iterator[TaskId]:
    yield from touched.tasks
    cluster = source.picture.cluster
    for node in touched.nodes:
        yield from (task.id for task in cluster.tasks_on(node))
    if not touched.keys:  # only reasons have changed
        for name in touched.services:
            yield from (task.id for task in cluster.pending(name))


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────


def _node_is_meant(source: Source, name: str, request: Any) -> bool:
    node = source.picture.cluster.node(name)
    is_named = not request.names or name in request.names
    return node is not None and is_named and _labels_match(request, node.spec.labels)


def _show_node(source: Source, name: str) -> pb.Object:
    cluster = source.picture.cluster
    return pb.Object(node=views.node_view(cluster, cluster.nodes[name], source.heartbeat_age(name)))


def _nodes_touched(source: Source, touched: picture.Touched) -> Iterator[str]:
    yield from touched.nodes | touched.assigned
    for identity in touched.tasks:  # one that has ended counts no longer
        task = source.picture.cluster.task(identity)
        if task is not None and task.node in source.picture.cluster.nodes:
            yield task.node


# ── configs, secrets, namespaces, events ─────────────────────────────────────────────────────────────────


def _of_map(source: Source, kind: str) -> Mapping[Any, Any]:
    found: Mapping[Any, Any] = getattr(source.picture.cluster, kind)
    return found


def _plain_kind(kind: str, singular: str, prefix: str, view: Callable[[Any], Any]) -> Kind:
    """Objects that are shown as they are stored; `kind` is the picture's name for them."""
    has_namespace = kind != "namespaces"

    def is_meant(source: Source, name: Any, request: Any) -> bool:
        value = _of_map(source, kind).get(name)
        parts = name if has_namespace else ("", name)
        is_named = (
            _is_named(request, *parts) if has_namespace else (not request.names or name in request.names)
        )
        return value is not None and is_named and _labels_match(request, value.labels)

    def touched_by(_: Source, touched: picture.Touched) -> Iterator[Any]:
        for key in touched.keys:
            if key.startswith(prefix):
                yield codec.name_of(key, prefix) if has_namespace else key[len(prefix) :]

    def refer(name: Any) -> pb.Reference:
        space, plain = name if has_namespace else ("", name)
        return pb.Reference(kind=singular, namespace=space, name=plain)

    return Kind(
        identities=lambda source: sorted(_of_map(source, kind)),
        is_meant=is_meant,
        show=lambda source, name: pb.Object(**{singular: view(_of_map(source, kind)[name])}),
        refer=refer,
        touched_by=touched_by,
    )


def _event_is_meant(source: Source, key: str, request: Any) -> bool:
    event = source.picture.events.get(key)
    if event is None or request.namespace not in {"", event.namespace}:
        return False
    _, _, name = event.object.partition("/")
    if not request.names:
        return True
    return any(wanted in {event.object, name} or name.startswith(f"{wanted}.") for wanted in request.names)


def _events_touched(_: Source, touched: picture.Touched) -> Iterator[str]:
    return (key for key in touched.keys if key.startswith(keys.EVENTS))


KINDS: dict[str, Kind] = {
    "services": Kind(
        identities=lambda source: sorted(source.picture.cluster.services),
        is_meant=_service_is_meant,
        show=_show_service,
        refer=lambda name: pb.Reference(kind="service", namespace=name.namespace, name=name.name),
        touched_by=_services_touched,
    ),
    "tasks": Kind(
        identities=_tasks,
        is_meant=_task_is_meant,
        show=_show_task,
        refer=lambda task: pb.Reference(
            kind="task", namespace=task.namespace, name=task.full_name, uid=task.uid
        ),
        touched_by=_tasks_touched,
    ),
    "nodes": Kind(
        identities=lambda source: sorted(source.picture.cluster.nodes),
        is_meant=_node_is_meant,
        show=_show_node,
        refer=lambda name: pb.Reference(kind="node", name=name),
        touched_by=_nodes_touched,
    ),
    "configs": _plain_kind("configs", "config", keys.CONFIGS, wire.to_wire),
    "secrets": _plain_kind("secrets", "secret", keys.SECRETS, views.secret_view),
    "namespaces": _plain_kind("namespaces", "namespace", keys.NAMESPACES, wire.to_wire),
    "events": Kind(
        identities=lambda source: sorted(source.picture.events),
        is_meant=_event_is_meant,
        show=lambda source, key: pb.Object(event=wire.to_wire(source.picture.events[key])),
        refer=lambda key: pb.Reference(kind="event", name=key[len(keys.EVENTS) :]),
        touched_by=_events_touched,
    ),
    "endpoints": Kind(
        identities=lambda source: sorted(source.picture.cluster.services),
        is_meant=_service_is_meant,
        show=_show_endpoints,
        refer=lambda name: pb.Reference(kind="endpoints", namespace=name.namespace, name=name.name),
        touched_by=_endpoints_touched,
    ),
    "revisions": Kind(
        identities=_revisions,
        is_meant=_revision_is_meant,
        show=_show_revision,
        refer=lambda it: pb.Reference(
            kind="revision", namespace=it[0].namespace, name=it[0].name, uid=str(it[1])
        ),
        touched_by=_revisions_touched,
    ),
}


def object_name(reference: Any) -> ObjectName:
    """Namespace and name of a Reference."""
    return ObjectName(reference.namespace, reference.name)
