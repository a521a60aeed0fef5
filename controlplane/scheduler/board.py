"""The nodes of the cluster, laid out for many questions at once.

A set of nodes is an integer with one bit per node, in the order of their names: asking a thousand nodes for a
label is one look-up, and joining two answers is one `&`.
"""

from collections.abc import Callable, Iterator

from controlplane.cluster import fitness
from controlplane.cluster.snapshot import Cluster
from controlplane.scheduler.capacity import Capacity
from orch.model import constraint
from orch.model.node import Availability, Node, Taint
from orch.model.policy import PlacementSpec

NodeSet = int


class Board:
    """Made for one round of placing; capacity is given away on the way, everything else stays as it is."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.nodes: list[Node] = sorted(cluster.nodes.values(), key=lambda node: node.spec.name)
        self.names = [node.spec.name for node in self.nodes]
        self.index = {name: i for i, name in enumerate(self.names)}
        self.everywhere: NodeSet = (1 << len(self.nodes)) - 1
        self.capacity = Capacity(cluster, self.nodes)
        self.ready = self._where(lambda node: node.is_ready)
        self.active = self._where(lambda node: node.spec.availability is Availability.ACTIVE)
        self._tainted = self._by_taints()
        self._by_attribute: dict[str, dict[str, NodeSet]] = {}
        self._answers: dict[object, NodeSet] = {}
        self._lists: dict[NodeSet, list[int]] = {}

    def named(self, names: tuple[str, ...]) -> NodeSet:
        """Those of the names that exist."""
        found = 0
        for name in names:
            if name in self.index:
                found |= 1 << self.index[name]
        return found

    def untainted_for(self, placement: PlacementSpec) -> NodeSet:
        """Nodes none of whose taints repels the service."""
        key = ("taints", placement.tolerations)
        if key not in self._answers:
            repelled = 0
            for where in self._tainted.values():
                if fitness.untolerated(placement, self.nodes[(where & -where).bit_length() - 1]):
                    repelled |= where
            self._answers[key] = self.everywhere & ~repelled
        return self._answers[key]

    def having(self, label: str, value: str) -> NodeSet:
        return self.by_attribute(f"node.labels.{label}").get(value, 0)

    def satisfying(self, text: str) -> NodeSet:
        """Nodes that a constraint allows: asked once per value of its attribute, not once per node."""
        key = ("constraint", text)
        if key not in self._answers:
            asked = constraint.parse(text)
            found, with_it = 0, 0
            for value, where in self.by_attribute(asked.attribute).items():
                with_it |= where
                if asked.allows(value):
                    found |= where
            if asked.allows(None):
                found |= self.everywhere & ~with_it
            self._answers[key] = found
        return self._answers[key]

    def by_attribute(self, attribute: str) -> dict[str, NodeSet]:
        """Value → the nodes that have it; built when it is first asked for."""
        known = self._by_attribute.get(attribute)
        if known is None:
            known = {}
            for i, node in enumerate(self.nodes):
                value = fitness.attributes_of(node).get(attribute)
                if value is not None:
                    known[value] = known.get(value, 0) | 1 << i
            self._by_attribute[attribute] = known
        return known

    def indexes(self, where: NodeSet) -> list[int]:
        """The nodes of a set, by name. Not to be changed: it is remembered."""
        known = self._lists.get(where)
        if known is None:
            known = [i for i, bit in enumerate(reversed(bin(where))) if bit == "1"]
            self._lists[where] = known
        return known

    def names_in(self, where: NodeSet) -> Iterator[str]:
        return (self.names[i] for i in self.indexes(where))

    def _where(self, holds: Callable[[Node], bool]) -> NodeSet:
        return sum(1 << i for i, node in enumerate(self.nodes) if holds(node))

    def _by_taints(self) -> dict[tuple[Taint, ...], NodeSet]:
        found: dict[tuple[Taint, ...], NodeSet] = {}
        for i, node in enumerate(self.nodes):
            if node.spec.taints:
                found[node.spec.taints] = found.get(node.spec.taints, 0) | 1 << i
        return found
