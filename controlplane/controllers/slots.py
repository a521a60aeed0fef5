"""The slots of a service as the picture has them: which are wanted, and what is in each.

A replicated service has the slots 1 to `replicas`. A global one has a slot for each node that may run it,
numbered by the node's place in the cluster's range; a node that is down leaves the count, and its tasks are
left alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from controlplane.cluster import fitness
from controlplane.cluster.snapshot import Cluster
from orch.model.node import Node
from orch.model.policy import PlacementSpec
from orch.model.service import Mode, Service
from orch.model.task import Task


@dataclass(slots=True)
class Slot:
    """One place in the service, of its present life."""

    number: int
    node: str = ""
    """Global services: the node that the slot is for."""
    live: list[Task] = field(default_factory=list)
    """Wanted and not finished: the incumbent, then the successor."""
    past: list[Task] = field(default_factory=list)
    """Retired or finished, and not yet forgotten; by attempt."""

    @property
    def incumbent(self) -> Task | None:
        return self.live[0] if self.live else None

    @property
    def successor(self) -> Task | None:
        return self.live[1] if len(self.live) > 1 else None

    @property
    def latest(self) -> Task | None:
        """The last attempt that is still known."""
        if self.live and self.past:
            return max(self.live[-1], self.past[-1], key=lambda task: task.id.attempt)
        last = self.live or self.past
        return last[-1] if last else None


@dataclass(slots=True)
class Layout:
    """All slots of a service."""

    wanted: dict[int, Slot]
    surplus: list[Task]
    """Wanted to run, in no wanted slot, or of an earlier life."""
    resting: list[Slot]
    """Global services: slots of nodes that are down, or that keep what they have and take nothing new."""

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.wanted.values())

    def __len__(self) -> int:
        return len(self.wanted)


def read(cluster: Cluster, service: Service) -> Layout:
    """Looks at every task of the service once."""
    found: dict[int, Slot] = {}
    surplus: list[Task] = []
    birth = service.birth
    for task in cluster.tasks_of(service.name):
        live = cluster.is_live(task)
        identity = task.id
        if identity.birth == birth:
            slot = found.get(identity.slot)
            if slot is None:
                found[identity.slot] = slot = Slot(identity.slot)
            (slot.live if live else slot.past).append(task)
        elif live:
            surplus.append(task)
    layout = Layout({}, surplus, [])
    if service.spec.mode is Mode.GLOBAL:
        _one_per_node(cluster, service, found, layout)
    else:
        for number in range(1, service.replicas + 1):
            slot = found.pop(number) if number in found else Slot(number)
            layout.wanted[number] = slot
    for slot in found.values():
        surplus.extend(slot.live)
    return layout


def _one_per_node(cluster: Cluster, service: Service, found: dict[int, Slot], layout: Layout) -> None:
    if service.deleted:
        return
    placement = service.spec.template.placement
    for node in sorted(cluster.nodes.values(), key=lambda node: node.status.index):
        number = node.status.index + 1
        slot = found.get(number) or Slot(number)
        slot.node = node.name
        if fitness.takes_new(placement, node):
            layout.wanted[number] = slot
        elif not node.is_ready or (slot.live and _may_keep(placement, node)):
            layout.resting.append(slot)
        else:
            continue
        found.pop(number, None)


def _may_keep(placement: PlacementSpec, node: Node) -> bool:
    """A cordoned or newly tainted node keeps what it has: nothing new could take its place."""
    return fitness.is_named_by(placement, node) and not fitness.reason_to_leave(placement, node)
