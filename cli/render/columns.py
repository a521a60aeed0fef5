"""Which columns each kind of object has, and what stands in their cells."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cli.render import endpoints, words
from cli.render.words import NOTHING

Cell = Callable[[Any, float], str]
"""A view and now → text."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Of one kind."""

    usual: dict[str, Cell]
    wide: dict[str, Cell]
    namespace: Cell | None
    """None for kinds that are in no namespace."""


# ── services ─────────────────────────────────────────────────────────────────────────────────────────────


def _images(view: Any, _now: float) -> str:
    containers = view.service.spec.template.containers
    more = f" +{len(containers) - 1}" if len(containers) > 1 else ""
    return (words.images(containers[0].image) + more) if containers else NOTHING


def _revision(view: Any, _now: float) -> str:
    rollout = view.rollout
    if rollout.stable and rollout.stable != view.service.revision:
        return f"{rollout.stable}→{view.service.revision}"
    return str(view.service.revision)


def _ports(view: Any, _now: float) -> str:
    return ",".join(words.port(each) for each in view.service.spec.template.ports) or NOTHING


_SERVICE = Columns(
    {
        "NAME": lambda view, _: view.service.name.name,
        "MODE": lambda view, _: view.service.spec.mode,
        "READY": lambda view, _: f"{view.ready}/{view.desired}",
        "UP-TO-DATE": lambda view, _: str(view.updated),
        "REV": _revision,
        "STATUS": lambda view, _: view.status,
        "IMAGE": _images,
        "PORTS": _ports,
        "AGE": lambda view, now: words.age(view.service.created_at, now),
    },
    {
        "REASON": lambda view, _: view.reason or NOTHING,
        "LABELS": lambda view, _: words.labels(view.service.labels),
    },
    lambda view, _: str(view.service.name.namespace),
)


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────


def _ready(view: Any, _now: float) -> str:
    init = {each.name for each in view.template.init_containers}
    containers = [each for each in view.status.containers if each.name not in init]
    if not containers:
        return "yes" if view.ready else "no"
    return f"{sum(each.ready for each in containers)}/{len(containers)}"


def _exit(view: Any, _now: float) -> str:
    for each in view.status.containers:
        if each.exit_signal:
            return f"signal {each.exit_signal}"
        if each.HasField("exit_code") and each.state == "exited":
            return str(each.exit_code)
    return NOTHING


def _reason(view: Any, _now: float) -> str:
    return view.reason or (NOTHING if not view.message else view.message)


def _next_retry(view: Any, now: float) -> str:
    return f"in {words.span(view.status.retry_at - now)}" if view.status.retry_at > now else NOTHING


_TASK = Columns(
    {
        "NAME": lambda view, _: f"{view.task.id.service}.{view.task.id.slot}",
        "NODE": lambda view, _: view.task.node or NOTHING,
        "STATUS": lambda view, _: words.state(view),
        "READY": _ready,
        "RESTARTS": lambda view, _: str(view.status.restarts),
        "REV": lambda view, _: str(view.task.revision),
        "AGE": lambda view, now: words.age(view.task.created_at, now),
        "REASON": _reason,
    },
    {
        "IP": lambda view, _: ",".join(view.status.addresses) or NOTHING,
        "IMAGE": lambda view, _: words.images(view.image) or NOTHING,
        "EXIT": _exit,
        "NEXT-RETRY": _next_retry,
        "MESSAGE": lambda view, _: view.status.message or view.message or NOTHING,
    },
    lambda view, _: str(view.task.id.namespace),
)


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────


def _node_status(view: Any, _now: float) -> str:
    condition = "Ready" if view.status.condition == "ready" else "Down"
    availability = {"cordoned": ",Cordoned", "drained": ",Drained"}.get(view.spec.availability, "")
    return condition + availability


def _heartbeat(view: Any, _now: float) -> str:
    return NOTHING if view.heartbeat_age < 0 else f"{view.heartbeat_age:.1f}s ago"


def _taints(view: Any, _now: float) -> str:
    found = [f"{each.key}{'=' + each.value if each.value else ''}:{each.effect}" for each in view.spec.taints]
    return ",".join(found) or NOTHING


_NODE = Columns(
    {
        "NAME": lambda view, _: view.spec.name,
        "STATUS": _node_status,
        "ROLES": lambda _view, _: "worker",
        "TASKS": lambda view, _: str(view.tasks),
        "CPU%": lambda view, _: words.share(view.allocated.cpu, view.status.facts.cpu),
        "MEM%": lambda view, _: words.share(view.allocated.memory, view.status.facts.memory),
        "AGE": lambda view, now: words.age(view.spec.joined_at, now),
        "VERSION": lambda view, _: view.status.facts.version or NOTHING,
    },
    {
        "IP": lambda view, _: view.status.facts.address or NOTHING,
        "LABELS": lambda view, _: words.labels(view.spec.labels),
        "TAINTS": _taints,
        "KERNEL": lambda view, _: view.status.facts.kernel or NOTHING,
        "HEARTBEAT": _heartbeat,
    },
    None,
)


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────


def _entries(names: Iterable[str]) -> str:
    return ",".join(sorted(names)) or NOTHING


_CONFIG = Columns(
    {
        "NAME": lambda config, _: config.name.name,
        "ENTRIES": lambda config, _: _entries(config.data),
        "VERSION": lambda config, _: str(config.version),
        "AGE": lambda config, now: words.age(config.created_at, now),
    },
    {"LABELS": lambda config, _: words.labels(config.labels)},
    lambda config, _: str(config.name.namespace),
)
_SECRET = Columns(
    {
        "NAME": lambda secret, _: secret.name.name,
        "TYPE": lambda secret, _: secret.type,
        "ENTRIES": lambda secret, _: _entries(secret.sizes),
        "VERSION": lambda secret, _: str(secret.version),
        "AGE": lambda secret, now: words.age(secret.created_at, now),
    },
    {"LABELS": lambda secret, _: words.labels(secret.labels)},
    lambda secret, _: str(secret.name.namespace),
)
_NAMESPACE = Columns(
    {"NAME": lambda view, _: view.name, "AGE": lambda view, now: words.age(view.created_at, now)},
    {"LABELS": lambda view, _: words.labels(view.labels)},
    None,
)
_EVENT = Columns(
    {
        "LAST-SEEN": lambda event, now: words.age(event.last_at, now),
        "TYPE": lambda event, _: event.type,
        "REASON": lambda event, _: event.reason,
        "OBJECT": lambda event, _: event.object,
        "COUNT": lambda event, _: str(event.count),
        "MESSAGE": lambda event, _: event.message,
    },
    {},
    lambda event, _: event.namespace or NOTHING,
)
_REVISION = Columns(
    {
        "REV": lambda view, _: str(view.revision.number) + ("*" if view.is_stable else ""),
        "AGE": lambda view, now: words.age(view.revision.created_at, now),
        "BY": lambda view, _: view.revision.created_by or NOTHING,
        "IMAGE": lambda view, _: (
            words.images(view.revision.template.containers[0].image)
            if view.revision.template.containers
            else NOTHING
        ),
        "CHANGE": lambda view, _: words.images(view.revision.change) or NOTHING,
        "OUTCOME": lambda view, _: (
            f"{view.outcome}: {view.reason}" if view.reason else view.outcome or "in progress"
        ),
    },
    {},
    lambda view, _: str(view.revision.service.namespace),
)
_ENDPOINTS = Columns(
    {
        "NAME": lambda view, _: view.endpoints.service.name,
        "ADDRESS": lambda view, _: endpoints.addresses(view),
        "PORTS": lambda view, _: endpoints.ports(view),
        "READY": lambda view, _: str(sum(each.ready for each in view.endpoints.endpoints)),
        "ENDPOINTS": lambda view, _: endpoints.ready(view),
        "OUT": lambda view, _: endpoints.out(view),
    },
    {
        "PUBLISHED": lambda view, _: (
            "; ".join(
                endpoints.published(each).removeprefix(" at ")
                for each in view.endpoints.ports
                if each.published
            )
            or NOTHING
        ),
        "ALL": lambda view, _: endpoints.ready(view, len(view.endpoints.endpoints)),
    },
    lambda view, _: str(view.endpoints.service.namespace),
)

COLUMNS = {
    "service": _SERVICE,
    "endpoints": _ENDPOINTS,
    "task": _TASK,
    "node": _NODE,
    "config": _CONFIG,
    "secret": _SECRET,
    "namespace": _NAMESPACE,
    "event": _EVENT,
    "revision": _REVISION,
}
