"""A node that is silent for too long is down; one that speaks again is ready.

Heartbeats are not in the picture: they live in the leader's memory. `heard` has to have an instant for every
node that is to be judged; a new leader begins with its own start for each of them, so that every node gets a
full timeout. A node that is not in `heard` is not judged at all.
"""

from collections.abc import Iterator, Mapping

from controlplane.cluster.change import Change, MarkNode, Tell, WakeAt
from controlplane.cluster.snapshot import Cluster
from orch.model.event import EventType
from orch.model.node import Condition, Node

DEFAULT_TIMEOUT_SECONDS = 5.0


def decide(cluster: Cluster, heard: Mapping[str, float], timeout: float, now: float) -> Iterator[Change]:
    """`heard`: each node's last heartbeat; `timeout`: seconds until gone, the loop's own lag added."""
    deadlines = []
    for name in sorted(cluster.nodes):
        last = heard.get(name)
        if last is None:
            continue
        node = cluster.nodes[name]
        if now < last + timeout:
            deadlines.append(last + timeout)
            if not node.is_ready:
                yield from _ready(node)
        elif node.is_ready:
            yield from _down(node, now - last)
    if deadlines:
        yield WakeAt(min(deadlines))


def _ready(node: Node) -> Iterator[Change]:
    words = "heard from again" if node.status.since else "joined"
    yield MarkNode(node.name, Condition.READY, words)
    yield Tell(EventType.NORMAL, "NodeReady", f"node/{node.name}", "", words)


def _down(node: Node, silent: float) -> Iterator[Change]:
    words = f"not heard from for {silent:.1f}s"
    yield MarkNode(node.name, Condition.DOWN, words)
    yield Tell(EventType.WARNING, "NodeDown", f"node/{node.name}", "", words)
