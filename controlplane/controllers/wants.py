"""What the rollout wants of each slot: a revision, and perhaps a node.

Between the rollout controller, which keeps the memory, and replication, which makes it so.
"""

from dataclasses import dataclass, replace

from controlplane.cluster import fitness
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers.slots import Layout, Slot
from orch.model.node import Node
from orch.model.rollout import Outcome, Phase, Rollout
from orch.model.service import Service


@dataclass(frozen=True, slots=True)
class Want:
    """Of one slot."""

    revision: int
    """What the slot is to run in the end."""
    fill: int
    """What it runs if it is empty and may not get further now: where the slot stands in the rollout."""
    bound_to: tuple[str, ...] = ()
    """The only nodes that `revision` may be on."""
    held: bool = False
    """The rollout is paused: a successor beside an incumbent is neither promoted nor removed."""


def of_slots(cluster: Cluster, service: Service, rollout: Rollout, layout: Layout) -> dict[int, Want]:
    """By slot number."""
    if rollout.phase is Phase.DONE and not any(slot.node for slot in layout):
        return dict.fromkeys(layout.wanted, Want(rollout.target, rollout.target))
    bound = canary_slots(cluster, service, rollout) if is_canary(service, rollout) else None
    wants = {}
    for slot in layout:
        want = _in_canary(slot, rollout, bound) if bound is not None else _outside(slot, rollout)
        if rollout.phase is Phase.PAUSED:
            sent_back = bound is not None and slot.number in rollout.slots and slot.number not in bound
            want = _held(slot, want, sent_back=sent_back)
        wants[slot.number] = replace(want, bound_to=(slot.node,)) if slot.node else want
    return wants


def is_canary(service: Service, rollout: Rollout) -> bool:
    """A canary step is under way, or was when the rollout was paused."""
    if rollout.phase is Phase.CANARY:
        return True
    return rollout.phase is Phase.PAUSED and may_be_canary(service, rollout)


def may_be_canary(service: Service, rollout: Rollout) -> bool:
    """There is a stable revision to go back to, and a step that has not been passed."""
    policy = service.spec.rollout.canary
    steps = len(policy.steps) if policy else 0
    return 0 < rollout.stable != rollout.target and rollout.step < steps and not is_rolled_back(rollout)


def is_rolled_back(rollout: Rollout) -> bool:
    """The target was given up and its canary undone: nodes and slots of a step are gone."""
    given_up = is_given_up(rollout, rollout.target)
    return given_up and not rollout.nodes and not rollout.slots


def is_given_up(rollout: Rollout, revision: int) -> bool:
    """The revision failed or was aborted and is not tried again; a new one of the same template is."""
    for outcome in reversed(rollout.outcomes):
        if outcome.revision == revision:
            return outcome.outcome in {Outcome.FAILED, Outcome.ABORTED}
    return False


def canary_slots(cluster: Cluster, service: Service, rollout: Rollout) -> dict[int, str]:
    """Slots that run the target in this step → their node, or nothing when the step is by number.

    The slot of a node that cannot run it now is not among them: it goes back to the stable revision
    elsewhere.
    """
    if not rollout.nodes:
        return dict.fromkeys(rollout.slots, "")
    pairs = zip(rollout.slots, rollout.nodes, strict=False)
    return {slot: node for slot, node in pairs if is_usable(cluster.node(node), service)}


def is_usable(node: Node | None, service: Service) -> bool:
    """A canary can run there: the node is heard from and does not send the service away."""
    if node is None or not node.is_ready:
        return False
    return not fitness.reason_to_leave(service.spec.template.placement, node)


def _in_canary(slot: Slot, rollout: Rollout, bound: dict[int, str]) -> Want:
    if slot.number not in bound:
        return Want(rollout.stable, rollout.stable)
    node = bound[slot.number]
    return Want(rollout.target, rollout.target, (node,) if node else ())


def _outside(slot: Slot, rollout: Rollout) -> Want:
    match rollout.phase:
        case Phase.ROLLING_BACK:
            return Want(rollout.stable, rollout.stable)
        case _:
            latest = slot.latest
            rolled = rollout.stable == 0 or (latest is not None and latest.revision == rollout.target)
            return Want(rollout.target, rollout.target if rolled else rollout.stable)


def _held(slot: Slot, want: Want, *, sent_back: bool) -> Want:
    """What the slot has, or had last. Only a canary that lost its node still goes back to stable."""
    latest = slot.incumbent or slot.latest
    revision = latest.revision if latest and not sent_back else want.fill
    return Want(revision, revision, want.bound_to if revision == want.revision else (), held=True)
