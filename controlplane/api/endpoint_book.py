"""What every node is to know of all services, encoded once; and who has left it that some node may still lead to."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from controlplane.api import conversation, leaving
from controlplane.cluster import snapshot
from orch import wire
from orch.model.assignment import ServiceEndpoints
from orch.model.names import ServiceName, TaskId
from orch.model.node import Condition
from orch.model.task import Task, Wanted
from orch.v1 import sessions_pb2, values_pb2

MOST_GONE_KEPT = 1000

Endpoints = Callable[[Any, ServiceName], ServiceEndpoints]


class EndpointBook:
    """Times are seconds of a clock that never jumps."""

    def __init__(self, endpoints_of: Endpoints) -> None:
        self.version = 0
        """Grows with every change of the content."""
        self._endpoints_of = endpoints_of
        self._stale: set[ServiceName] = set()
        self._is_begun = False
        self._endpoints: dict[ServiceName, ServiceEndpoints] = {}
        self._messages: dict[ServiceName, values_pb2.ServiceEndpoints] = {}
        self._unsent: set[ServiceName] = set()
        self._changed: dict[ServiceName, int] = {}
        """Of those that are there and of those that went: the version of the section that first told of it."""
        self._whole_before = 0
        """Differences to versions before this are not known any more."""
        self._stamp = values_pb2.Stamp()
        self._told = 0
        self._encoded: dict[int, bytes] = {}
        self._leaving = leaving.Leaving()

    def touch(self, names: Iterable[ServiceName]) -> None:
        """Something of these services may be different."""
        self._stale.update(names)

    def is_stale(self) -> bool:
        """`refresh` would look at something."""
        return bool(self._stale)

    def refresh(self, cluster: snapshot.Cluster, now: float) -> set[str]:
        """The content is as the cluster now. Nodes with tasks of which `is_drained` may say something else."""
        stale, self._stale = self._stale, set()
        if not self._is_begun:
            self._is_begun = True
            stale |= set(cluster.tasks) | set(cluster.services)
            # who was told what by an earlier leader is not known: all that are to stop may still be led to
            self._leaving.left((task.id for task in _stopping(cluster, cluster.all_tasks())), now)
        for name in stale:
            self._renew(name, self._endpoints_of(cluster, name), name in cluster.services, now)
        return {task.node for name in stale for task in _stopping(cluster, cluster.tasks_of(name))}

    def told(self, stamp: values_pb2.Stamp, version: int) -> None:
        """The content, as it is now, is on its way under this version of the section."""
        self._stamp, self._told = stamp, version
        self._changed.update(dict.fromkeys(self._unsent, version))
        self._unsent.clear()
        self._encoded.clear()
        self._forget_who_went()
        self._leaving.sent(version)

    def message_for(self, session: conversation.Conversation) -> bytes:
        """What is told of: the difference to what was sent to the session last, or the whole."""
        base, session.endpoints_sent = session.endpoints_sent, self._told
        if base < self._whole_before:
            base = 0
        if base not in self._encoded:
            self._encoded[base] = sessions_pb2.SessionDown(endpoints=self._section(base)).SerializeToString()
        return self._encoded[base]

    def _section(self, base: int) -> values_pb2.EndpointSection:
        names = sorted(name for name, version in self._changed.items() if version > base)
        return values_pb2.EndpointSection(
            stamp=self._stamp,
            version=self._told,
            services=[self._messages[name] for name in names if name in self._messages],
            base=base,
            gone=[wire.to_wire(name) for name in names if base and name not in self._messages],
        )

    def _forget_who_went(self) -> None:
        """Who is so far behind is told the whole."""
        went = sorted(self._changed.keys() - self._messages.keys(), key=lambda name: self._changed[name])
        for name in went[:-MOST_GONE_KEPT]:
            self._whole_before = max(self._whole_before, self._changed.pop(name) + 1)

    def is_drained(self, task: TaskId) -> bool:
        """No node leads anybody to the task."""
        return self._is_begun and task.owner not in self._stale and task not in self._leaving

    def let_go(self, cluster: snapshot.Cluster, acknowledged: Mapping[str, int], now: float) -> set[str]:
        """Nodes with tasks that have drained just now. `acknowledged`: who is heard → what it has taken over."""
        silent = _silent(cluster, acknowledged)
        gone = self._leaving.settle(acknowledged, silent, now)
        tasks = (cluster.task(each) for each in gone)
        return {task.node for task in tasks if task is not None and task.node}

    def next_due(self) -> float | None:
        """When `let_go` is to be asked although nobody has acknowledged anything."""
        return self._leaving.next_due()

    def _renew(self, name: ServiceName, now: ServiceEndpoints, is_known: bool, at: float) -> None:
        before = self._endpoints.get(name)
        if not now.endpoints and not is_known:
            if before is None:
                return
            del self._endpoints[name], self._messages[name]
        elif before == now:
            return
        else:
            self._endpoints[name] = now
            self._messages[name] = wire.to_wire(now)
        self.version += 1
        self._unsent.add(name)
        were, ready = _ready(before), _ready(now)
        self._leaving.left(were - ready, at)
        self._leaving.came_back(ready)


def _ready(endpoints: ServiceEndpoints | None) -> set[TaskId]:
    return {each.task for each in endpoints.endpoints if each.ready} if endpoints else set()


def _stopping(cluster: snapshot.Cluster, tasks: Iterable[Task]) -> Iterator[Task]:
    """On a node, and not over yet."""
    for task in tasks:
        if task.wanted is Wanted.STOP and task.node and not cluster.has_finished(task):
            yield task


def _silent(cluster: snapshot.Cluster, heard: Collection[str]) -> list[str]:
    """Nodes that are thought to live and are not heard just now: they may lead to whatever they led to."""
    return [
        name
        for name, node in cluster.nodes.items()
        if name not in heard and node.status.condition is Condition.READY
    ]
