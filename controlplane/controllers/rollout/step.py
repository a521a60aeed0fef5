"""Which nodes and slots a canary step has. Nodes are frozen when it begins; slots follow only what vanishes.

In `Rollout` the two stand side by side: `slots[i]` runs on `nodes[i]`; a node of several instances is named
several times, and nodes at the end without a slot have no instance to borrow. A step by number has slots and
no nodes.
"""

from collections import Counter
from dataclasses import replace

from controlplane.cluster import fitness
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import wants
from controlplane.controllers.slots import Layout, Slot
from orch.model.policy import CanaryStep
from orch.model.rollout import Rollout
from orch.model.service import Service
from orch.model.task import Task


def entered(rollout: Rollout, number: int, now: float) -> Rollout:
    """The next step; the slots of the last one come first in it when it is by number."""
    return replace(
        rollout,
        step=number,
        nodes=(),
        step_began_at=now,
        progressed_at=now,
        ready_since=0.0,
        verdict="",
        waiting="",
    )


def keep(
    cluster: Cluster, service: Service, rollout: Rollout, step: CanaryStep, layout: Layout, now: float
) -> Rollout:
    """The step's nodes and slots, chosen now if it has just begun, and mended if slots have vanished."""
    if not (step.nodes or step.match_labels):
        size = how_many(step, len(layout))
        kept = tuple(number for number in rollout.slots if number in layout.wanted)
        if len(kept) < size or kept != rollout.slots:
            return replace(rollout, slots=_chosen(cluster, layout, kept, size, now))
        return rollout
    nodes = tuple(dict.fromkeys(rollout.nodes)) or named(cluster, service, step)
    kept_pairs = dict(zip(rollout.slots, rollout.nodes, strict=False))
    pairs = _paired(cluster, service, layout, nodes, kept_pairs)
    without = tuple(node for node in nodes if node not in {node for _, node in pairs})
    slots = tuple(number for number, _ in pairs)
    return replace(rollout, slots=slots, nodes=(*(node for _, node in pairs), *without))


def how_many(step: CanaryStep, wanted: int) -> int:
    """Neither none nor all, whatever was scaled since it was admitted: 10% of 3 is 1, 99% is 2."""
    count = step.count or rounded(step.percent, wanted)
    return max(min(count, wanted - 1), min(1, wanted))


def rounded(percent: int, wanted: int) -> int:
    """To the nearest, half upwards: 10% of 4 is 0, of 5 is 1."""
    return (2 * percent * wanted + 100) // 200


def named(cluster: Cluster, service: Service, step: CanaryStep) -> tuple[str, ...]:
    """The nodes a step means now.

    Those it names, as far as they exist; those with its labels, as far as they can run the service at all.
    """
    if step.nodes:
        return tuple(name for name in step.nodes if cluster.node(name))
    placement = service.spec.template.placement
    labels = step.match_labels.items()
    return tuple(
        node.name
        for node in sorted(cluster.nodes.values(), key=lambda node: node.name)
        if all(node.spec.labels.get(key) == value for key, value in labels)
        and wants.is_usable(node, service)
        and fitness.is_named_by(placement, node)
    )


def _chosen(
    cluster: Cluster, layout: Layout, kept: tuple[int, ...], size: int, now: float
) -> tuple[int, ...]:
    """Slots that are well first: a canary that replaces a broken instance shows nothing."""

    def rank(slot: Slot) -> tuple[bool, int]:
        well = slot.incumbent is not None and cluster.is_available(slot.incumbent, now)
        return (not well, slot.number)

    others = [slot.number for slot in sorted(layout, key=rank) if slot.number not in kept]
    return (*kept, *others[: max(0, size - len(kept))])


def _paired(
    cluster: Cluster, service: Service, layout: Layout, nodes: tuple[str, ...], kept: dict[int, str]
) -> list[tuple[int, str]]:
    """Slot and node: what the step had, what is on its nodes, and for a node with nothing a borrowed slot."""
    pairs = {number: node for number, node in kept.items() if number in layout.wanted}
    if not kept:
        for slot in layout:
            home = slot.node or next((task.node for task in slot.live if task.node in nodes), "")
            if home in nodes:
                pairs[slot.number] = home
    lenders = _lenders(layout, pairs)
    for node in nodes:
        if node not in pairs.values() and lenders and wants.is_usable(cluster.node(node), service):
            pairs[lenders.pop()] = node
    return sorted(pairs.items())


def _lenders(layout: Layout, pairs: dict[int, str]) -> list[int]:
    """Slots that may be borrowed, the best last: without a node, from the fullest node, the highest."""
    homes: dict[int, Task | None] = {
        slot.number: slot.incumbent for slot in layout if slot.number not in pairs and not slot.node
    }
    load = Counter(task.node for task in homes.values() if task)

    def rank(number: int) -> tuple[bool, int, int]:
        task = homes[number]
        return (task is None or not task.node, load[task.node] if task else 0, number)

    return sorted(homes, key=rank)
