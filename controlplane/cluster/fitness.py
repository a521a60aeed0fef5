"""What a node is to a service, whatever else runs there: named by its placement, or repelling it.

Facts of the picture that controllers and scheduler both need; room on the node is the scheduler's business.
"""

from orch.model import constraint
from orch.model.node import Availability, Node, Taint, TaintEffect
from orch.model.policy import PlacementSpec


def attributes_of(node: Node) -> dict[str, str]:
    """What constraints may ask about."""
    facts = node.status.facts
    return constraint.attributes_of(node.name, node.spec.labels, facts.architecture, facts.os)


def is_named_by(placement: PlacementSpec, node: Node) -> bool:
    """The node has the labels of the selector and satisfies every constraint."""
    labels = node.spec.labels
    if any(labels.get(key) != value for key, value in placement.node_selector.items()):
        return False
    if not placement.constraints:
        return True
    attributes = attributes_of(node)
    return all(constraint.parse(text).matches(attributes) for text in placement.constraints)


def untolerated(placement: PlacementSpec, node: Node) -> tuple[Taint, ...]:
    """Taints that keep the service's tasks from being placed on the node."""
    return tuple(taint for taint in node.spec.taints if not _tolerates(placement, taint))


def reason_to_leave(placement: PlacementSpec, node: Node) -> str:
    """Why tasks that run on the node have to go elsewhere; empty when they may stay."""
    if node.spec.availability is Availability.DRAINED:
        return f"{node.name} is drained"
    for taint in untolerated(placement, node):
        if taint.effect is TaintEffect.NO_EXECUTE:
            return f"{node.name} has the taint {taint}"
    return ""


def takes_new(placement: PlacementSpec, node: Node) -> bool:
    """Tasks of the service may be placed on the node now, if it has room for them."""
    return (
        node.is_ready
        and node.spec.availability is Availability.ACTIVE
        and not untolerated(placement, node)
        and is_named_by(placement, node)
    )


def _tolerates(placement: PlacementSpec, taint: Taint) -> bool:
    return any(
        each.key == taint.key and (each.value is None or each.value == taint.value)
        for each in placement.tolerations
    )
