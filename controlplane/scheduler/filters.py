"""May it run here? Each filter answers for all nodes at once, and says of one why not and what would help."""

from collections.abc import Callable
from dataclasses import dataclass

from controlplane.cluster import fitness
from controlplane.scheduler.board import Board, NodeSet
from controlplane.scheduler.request import Request
from orch.model import constraint
from orch.model.node import Availability
from orch.model.quantity import format_bytes, format_cpu

_MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Filter:
    """One rule."""

    name: str
    allowed: Callable[[Board, Request, NodeSet], NodeSet]
    """Of these nodes, those that may be taken."""
    why_not: Callable[[Board, Request, int], str]
    """Of a node that may not, in words before a list of names: `down`, `without the label disk=ssd`."""
    remedy: Callable[[Board, Request, int], str]
    """The change that would let it pass, as an order to the user."""


def static(board: Board, request: Request) -> NodeSet:
    """All that does not change while tasks are placed."""
    left = board.everywhere
    for each in STATIC:
        left = each.allowed(board, request, left)
    return left


# ── the node itself ──────────────────────────────────────────────────────────────────────────────────────


def _ready(board: Board, _request: Request, left: NodeSet) -> NodeSet:
    return left & board.ready


def _active(board: Board, _request: Request, left: NodeSet) -> NodeSet:
    return left & board.active


def _availability(board: Board, _request: Request, i: int) -> str:
    drained = board.nodes[i].spec.availability is Availability.DRAINED
    return "drained" if drained else "cordoned"


def _untainted(board: Board, request: Request, left: NodeSet) -> NodeSet:
    return left & board.untainted_for(request.placement)


def _taint(board: Board, request: Request, i: int) -> str:
    taint = fitness.untolerated(request.placement, board.nodes[i])[0]
    return f"taint {taint} not tolerated"


def _toleration(board: Board, request: Request, i: int) -> str:
    taint = fitness.untolerated(request.placement, board.nodes[i])[0]
    return f"tolerate the taint {taint.key}, or take it off {board.names[i]}"


# ── what the service asks of the node ────────────────────────────────────────────────────────────────────


def _selected(board: Board, request: Request, left: NodeSet) -> NodeSet:
    for key, value in request.placement.node_selector.items():
        left &= board.having(key, value)
    return left


def _missing_label(board: Board, request: Request, i: int) -> str:
    labels = board.nodes[i].spec.labels
    selector = request.placement.node_selector.items()
    return next(f"{key}={value}" for key, value in selector if labels.get(key) != value)


def _constrained(board: Board, request: Request, left: NodeSet) -> NodeSet:
    for text in request.placement.constraints:
        left &= board.satisfying(text)
    return left


def _broken_constraint(board: Board, request: Request, i: int) -> str:
    attributes = fitness.attributes_of(board.nodes[i])
    texts = request.placement.constraints
    return next(text for text in texts if not constraint.parse(text).matches(attributes))


def _bound(board: Board, request: Request, left: NodeSet) -> NodeSet:
    return left & board.named(request.bound_to) if request.bound_to else left


def _outside_canary(board: Board, request: Request, left: NodeSet) -> NodeSet:
    if not request.canary_nodes:
        return left
    named = board.named(request.canary_nodes)
    return left & named if request.is_canary else left & ~named


def _canary(_board: Board, request: Request, _i: int) -> str:
    if request.is_canary:
        return f"the canary runs on {', '.join(dict.fromkeys(request.canary_nodes))} only"
    return "the canary's node"


# ── what the node has left ───────────────────────────────────────────────────────────────────────────────


def _ports_free(board: Board, request: Request, left: NodeSet) -> NodeSet:
    if not request.ports:
        return left
    return _keep(board, left, lambda i: not board.capacity.port_holder(i, request.ports))


def _port(board: Board, request: Request, i: int) -> str:
    return board.capacity.port_holder(i, request.ports)


def _below_maximum(board: Board, request: Request, left: NodeSet) -> NodeSet:
    most = request.placement.max_per_node
    if not most:
        return left
    return _keep(board, left, lambda i: request.tally.all[board.names[i]] < most)


def _roomy(board: Board, request: Request, left: NodeSet) -> NodeSet:
    return _keep(board, left, lambda i: board.capacity.fits(i, request.resources))


def _short_of(board: Board, request: Request, i: int) -> str:
    asked, capacity = request.resources, board.capacity
    lacks = ["cpu"] if asked.cpu and asked.cpu > capacity.cpu[i] else []
    lacks += ["memory"] if asked.memory and asked.memory > capacity.memory[i] else []
    return f"without enough {' and '.join(lacks)}"


def _shortage(board: Board, request: Request, i: int) -> str:
    cpu = request.resources.cpu - board.capacity.cpu[i]
    memory = request.resources.memory - board.capacity.memory[i]
    lacks = [f"{format_cpu(cpu)} cpu"] if cpu > 0 and request.resources.cpu else []
    rounded = -(-memory // _MEBIBYTE) * _MEBIBYTE
    lacks += [f"{format_bytes(rounded)} memory"] if memory > 0 and request.resources.memory else []
    return " and ".join(lacks)


def _keep(board: Board, left: NodeSet, holds: Callable[[int], bool]) -> NodeSet:
    for i in board.indexes(left):
        if not holds(i):
            left &= ~(1 << i)
    return left


STATIC = (
    Filter("ready", _ready, lambda *_: "down", lambda b, _, i: f"bring {b.names[i]} back"),
    Filter("availability", _active, _availability, lambda b, _, i: f"uncordon {b.names[i]}"),
    Filter("taints", _untainted, _taint, _toleration),
    Filter(
        "nodeSelector",
        _selected,
        lambda b, r, i: f"without the label {_missing_label(b, r, i)}",
        lambda b, r, i: f"label {b.names[i]} {_missing_label(b, r, i)}",
    ),
    Filter(
        "constraints",
        _constrained,
        lambda b, r, i: f"not {_broken_constraint(b, r, i)}",
        lambda b, r, i: f"drop or change the constraint {_broken_constraint(b, r, i)!r}",
    ),
    Filter(
        "bound",
        _bound,
        lambda _, r, __: f"not {', '.join(r.bound_to)}, where the task belongs",
        lambda _, r, __: f"see to {', '.join(r.bound_to)}",
    ),
    Filter(
        "canary", _outside_canary, _canary, lambda *_: "wait for the canary's end, or promote or abort it"
    ),
)
DYNAMIC = (
    Filter("ports", _ports_free, _port, lambda b, r, i: f"free the port on {b.names[i]}: {_port(b, r, i)}"),
    Filter(
        "maxPerNode",
        _below_maximum,
        lambda _, r, __: f"maxPerNode {r.placement.max_per_node} reached",
        lambda _, r, __: f"raise maxPerNode above {r.placement.max_per_node}, or add a node",
    ),
    Filter(
        "resources",
        _roomy,
        _short_of,
        lambda b, r, i: f"free or add {_shortage(b, r, i)} on {b.names[i]}, or request less",
    ),
)
FILTERS = STATIC + DYNAMIC
