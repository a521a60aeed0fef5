"""Values ↔ what lies in the store: which key a value has, and what the bytes under a key are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

from controlplane.store import keys, port
from orch import wire
from orch.model import cluster, config, event, node, rollout, service, task
from orch.model.names import ObjectName, TaskId

Value = (
    service.Service
    | service.Revision
    | rollout.Rollout
    | task.Task
    | task.TaskStatus
    | node.NodeSpec
    | node.NodeStatus
    | config.Config
    | config.Secret
    | config.Namespace
    | event.Event
    | cluster.ClusterIdentity
)


_NOTHING: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class Save:
    """Write the value under its key, or under another one."""

    value: Value
    at: str = ""

    @property
    def key(self) -> str:
        """Where it goes."""
        return self.at or key_of(self.value)


@dataclass(frozen=True, slots=True)
class Mark:
    """Write bytes: a claim's holder, a request's memory."""

    key: str
    content: bytes = b""
    lease: int = 0


def claim(key: str, task: TaskId) -> Mark:
    """The key is the task's, until it is dropped."""
    return Mark(key, wire.encode(task))


def claimed_by(content: bytes) -> TaskId:
    """Which task holds the claim."""
    return wire.decode(content, TaskId)


def named(name: ObjectName) -> bytes:
    """A service as the holder of a claim."""
    return f"{name.namespace}/{name.name}".encode()


def name_in(content: bytes) -> ObjectName:
    """Which service holds the claim."""
    namespace, _, name = content.decode().partition("/")
    return ObjectName(namespace, name)


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove what is under the key."""

    key: str


Edit = Save | Mark | Drop


def write(edit: Edit, newer: Mapping[str, bytes] = _NOTHING) -> port.Write:
    """What the store is told.

    `newer` is what lies there now with fields that this program is too old to know: they stay.
    """
    match edit:
        case Save(value=value):
            before = newer.get(edit.key)
            content = wire.encode(value) if before is None else wire.rewrite(value, before)
            return port.Put(edit.key, content)
        case Mark(key=key, content=content, lease=lease):
            return port.Put(key, content, lease)
        case Drop(key=key):
            return port.Delete(key)
        case _:
            assert_never(edit)


def key_of(value: Value) -> str:
    """Where the value lies."""
    return _KEYS[type(value)](value)


def decode(entry: port.Entry) -> tuple[Value | None, bool]:
    """The value under the key, None when the key is not part of the picture. Raises DecodeError.

    And whether a newer program wrote more than this one knows.
    """
    kind = _kind(entry.key)
    if kind is None:
        return None, False
    decoded: tuple[Value, bool] = wire.decode_noting(entry.value, kind)
    value, is_newer = decoded
    return born(value, entry.created), is_newer


def task_of(key: str) -> TaskId:
    """The task that `tasks/<namespace>/<service>/<uid>/…` is about."""
    namespace, owner, uid, _ = key[len(keys.TASKS) :].split("/")
    birth, slot, attempt = uid.split("-")
    return TaskId(namespace, owner, int(birth, 16), int(slot), int(attempt))


def name_of(key: str, prefix: str) -> ObjectName:
    """The name in `<prefix><namespace>/<name>…`."""
    namespace, name, *_ = key[len(prefix) :].split("/")
    return ObjectName(namespace, name)


def born(value: Value, created: int) -> Value:
    """A service is given its birth by the store: the revision that created its key."""
    if isinstance(value, service.Service) and value.birth == 0:
        return replace(value, birth=created)
    return value


_KEYS: dict[type, Callable[[Any], str]] = {
    service.Service: lambda it: keys.service(it.name),
    service.Revision: lambda it: keys.revision(it.service, it.number),
    rollout.Rollout: lambda it: keys.rollout(it.service),
    task.Task: lambda it: keys.task_desired(it.id),
    task.TaskStatus: lambda it: keys.task_observed(it.id),
    node.NodeSpec: lambda it: keys.node_spec(it.name),
    node.NodeStatus: lambda it: keys.node_status(it.name),
    config.Config: lambda it: keys.config(it.name),
    config.Secret: lambda it: keys.secret(it.name),
    config.Namespace: lambda it: keys.namespace(it.name),
    event.Event: lambda it: keys.event(it.id),
    cluster.ClusterIdentity: lambda _: keys.CLUSTER,
}

_PREFIXES: dict[str, type] = {
    keys.SERVICES: service.Service,
    keys.REVISIONS: service.Revision,
    keys.ROLLOUTS: rollout.Rollout,
    keys.CONFIGS: config.Config,
    keys.SECRETS: config.Secret,
    keys.NAMESPACES: config.Namespace,
    keys.EVENTS: event.Event,
}
_SIDES: dict[tuple[str, str], type] = {
    (keys.TASKS, "desired"): task.Task,
    (keys.TASKS, "observed"): task.TaskStatus,
    (keys.NODES, "spec"): node.NodeSpec,
    (keys.NODES, "status"): node.NodeStatus,
}


def _kind(key: str) -> type | None:
    if key == keys.CLUSTER:
        return cluster.ClusterIdentity
    if key.startswith(keys.VERSIONS):
        return config.Secret if key.startswith(f"{keys.VERSIONS}secrets/") else config.Config
    root = key[: key.find("/", len(keys.ROOT)) + 1]
    return _PREFIXES.get(root) or _SIDES.get((root, key[key.rfind("/") + 1 :]))
