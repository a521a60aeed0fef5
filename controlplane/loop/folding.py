"""How one key of the store, written or removed, changes the picture, and what that touches."""

from typing import TYPE_CHECKING

from controlplane.cluster import editing, snapshot
from controlplane.store import codec, keys
from orch.model import cluster, config, event, node, rollout, service, task
from orch.model.names import TaskId

if TYPE_CHECKING:
    from controlplane.loop.picture import Touched

_PORTS = f"{keys.CLAIMS}port/"
_SUBNETS = f"{keys.CLAIMS}subnet/"
_ADDRESSES = f"{keys.CLAIMS}address/"
_FOREIGN = (keys.REQUESTS, keys.TOKENS, keys.LEADER)


Versions = dict[str, config.Config | config.Secret]
"""By key: every kept version of configs and secrets."""


def concerns(key: str) -> bool:
    """Whether the key is part of the picture at all."""
    return not key.startswith(_FOREIGN)


class Step:
    """A picture in the making."""

    def __init__(self, start: snapshot.Cluster, events: dict[str, event.Event], versions: Versions) -> None:
        self.cluster = start
        self._events = events
        self._versions = versions

    def save(self, key: str, value: codec.Value, touched: "Touched") -> None:
        """The key now holds the value."""
        picture = self.cluster
        match value:
            case task.Task():
                self._task(value, touched)
            case task.TaskStatus():
                self._status(value, touched)
            case service.Service():
                self.cluster = editing.with_service(picture, value)
                touched.services.add(value.name)
                touched.endpoints.add(value.name)
            case service.Revision():
                self.cluster = editing.with_revision(picture, value)
                touched.services.add(value.service)
            case rollout.Rollout():
                self.cluster = editing.with_rollout(picture, value)
                touched.services.add(value.service)
                touched.endpoints.add(value.service)
            case node.NodeSpec():
                self.cluster = editing.with_node_spec(picture, value)
                self._node(value.name, touched)
            case node.NodeStatus():
                self.cluster = editing.with_node_status(picture, value)
                self._node(value.name, touched)
            case config.Config() | config.Secret() if key.startswith(keys.VERSIONS):
                self._versions[key] = value
            case config.Config():
                self.cluster = editing.with_config(picture, value)
            case config.Secret():
                self.cluster = editing.with_secret(picture, value)
            case config.Namespace():
                self.cluster = editing.with_namespace(picture, value)
                touched.endpoints.update(each for each in picture.services if each.namespace == value.name)
            case cluster.ClusterIdentity():
                self.cluster = editing.with_identity(picture, value)
            case event.Event():
                self._events[key] = value

    def mark(self, key: str, content: bytes, touched: "Touched") -> None:
        """The key now holds these bytes: a claim."""
        if key.startswith(_PORTS):
            self.cluster = editing.with_claim(self.cluster, key[len(_PORTS) :], codec.claimed_by(content))
        elif key.startswith(_SUBNETS):
            self.cluster = editing.with_subnet(self.cluster, int(key[len(_SUBNETS) :]), content.decode())
            touched.nodes.add(content.decode())
        elif key.startswith(_ADDRESSES):
            name = codec.name_in(content)
            self.cluster = editing.with_virtual_address(self.cluster, key[len(_ADDRESSES) :], name)
            touched.endpoints.add(name)

    def drop(self, key: str, touched: "Touched") -> None:
        """The key is gone."""
        picture = self.cluster
        if key.startswith(keys.TASKS):
            self._drop_task(key, touched)
        elif key.startswith(keys.SERVICES):
            name = codec.name_of(key, keys.SERVICES)
            self.cluster = editing.without_service(picture, name)
            touched.services.add(name)
            touched.endpoints.add(name)
        elif key.startswith(keys.REVISIONS):
            name = codec.name_of(key, keys.REVISIONS)
            self.cluster = editing.without_revision(picture, name, int(key[key.rfind("/") + 1 :]))
            touched.services.add(name)
        elif key.startswith(keys.ROLLOUTS):
            name = codec.name_of(key, keys.ROLLOUTS)
            self.cluster = editing.without_rollout(picture, name)
            touched.services.add(name)
        elif key.startswith(keys.NODES):
            gone = key[len(keys.NODES) :].split("/", maxsplit=1)[0]
            self.cluster = editing.without_node(picture, gone)
            self._node(gone, touched)
        elif key.startswith(_PORTS):
            self.cluster = editing.without_claim(picture, key[len(_PORTS) :])
            touched.frees = True
        elif key.startswith(_SUBNETS):
            self.cluster = editing.without_subnet(picture, int(key[len(_SUBNETS) :]))
        elif key.startswith(_ADDRESSES):
            self.cluster = editing.without_virtual_address(picture, key[len(_ADDRESSES) :])
            touched.frees = True
        else:
            self._drop_object(key)

    def _drop_object(self, key: str) -> None:
        picture = self.cluster
        if key.startswith(keys.CONFIGS):
            self.cluster = editing.without_config(picture, codec.name_of(key, keys.CONFIGS))
        elif key.startswith(keys.SECRETS):
            self.cluster = editing.without_secret(picture, codec.name_of(key, keys.SECRETS))
        elif key.startswith(keys.NAMESPACES):
            self.cluster = editing.without_namespace(picture, key[len(keys.NAMESPACES) :])
        elif key.startswith(keys.EVENTS):
            self._events.pop(key, None)
        elif key.startswith(keys.VERSIONS):
            self._versions.pop(key, None)

    def _task(self, new: task.Task, touched: "Touched") -> None:
        old = self.cluster.task(new.id)
        self.cluster = editing.with_task(self.cluster, new)
        self._touch(new.id, touched)
        if old is None or (old.node, old.wanted) != (new.node, new.wanted):
            touched.assigned.update(name for name in (new.node, old.node if old else "") if name)
            touched.endpoints.add(new.id.owner)

    def _status(self, new: task.TaskStatus, touched: "Touched") -> None:
        old = self.cluster.status(new.id)
        self.cluster = editing.with_status(self.cluster, new)
        self._touch(new.id, touched)
        if old is None or _reach(old) != _reach(new):
            touched.endpoints.add(new.id.owner)
        if new.state.is_final and (old is None or not old.state.is_final):
            touched.frees = True

    def _drop_task(self, key: str, touched: "Touched") -> None:
        name = codec.task_of(key)
        known = self.cluster.task(name)
        if key.endswith("/observed"):
            self.cluster = editing.without_status(self.cluster, name)
        else:
            self.cluster = editing.without_task(self.cluster, name)
            if known is not None and known.node:
                touched.assigned.add(known.node)
        self._touch(name, touched)
        touched.endpoints.add(name.owner)
        touched.frees = True

    def _node(self, name: str, touched: "Touched") -> None:
        touched.nodes.add(name)
        touched.frees = True

    def _touch(self, name: TaskId, touched: "Touched") -> None:
        touched.tasks.add(name)
        touched.services.add(name.owner)


def _reach(status: task.TaskStatus) -> tuple[object, ...]:
    """What of a status matters to those who want to reach the task."""
    return (
        status.state is task.TaskState.RUNNING,
        status.state.is_final,
        status.ready,
        status.addresses,
    )
