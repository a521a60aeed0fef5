"""Reasons of all nodes → one sentence with the smallest change that would help; and the scores of a winner.

none of 4 nodes takes it: 1 down (n4); 1 without the label disk=ssd (n3); 2 without enough cpu (n1, n2);
it would fit if you free or add 100m cpu on n1, or request less
"""

from dataclasses import dataclass, replace

from controlplane.cluster import after, change
from controlplane.cluster.snapshot import Cluster
from controlplane.scheduler import request
from controlplane.scheduler.board import Board, NodeSet
from controlplane.scheduler.filters import FILTERS
from controlplane.scheduler.request import Request
from controlplane.scheduler.scores import Best, Candidates
from controlplane.scheduler.tally import Tally
from orch.model.task import Task

NAMES_SHOWN = 5
NODES_ASKED = 64
"""How many nodes each filter is asked for its exact reason; of the others only the filter is named."""
NODES_WEIGHED = 20
"""How many of the nodes that come closest are looked at for the smallest change."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What one filter took away."""

    filter: str
    reason: str
    nodes: tuple[str, ...]


def funnel(cluster: Cluster, task: Task) -> tuple[list[Refused], list[str]]:
    """Filter by filter, which nodes fell and why; and the nodes that are left."""
    asked = request.of(cluster, task, Tally(cluster, task.id.owner))
    if asked is None:
        return [], []
    board = Board(cluster)
    refused, left = _funnel(board, asked)
    return refused, list(board.names_in(left))


def why_nowhere(board: Board, asked: Request) -> str:
    """The funnel as a sentence for the Waiting of a task that no node takes."""
    if not board.nodes:
        return "the cluster has no nodes; join one with `orch-agent --join`"
    refused, _ = _funnel(board, asked)
    total = len(board.nodes)
    head = "the only node does not take it" if total == 1 else f"none of {total} nodes takes it"
    reasons = "; ".join(f"{len(each.nodes)} {each.reason} ({_some(each.nodes)})" for each in refused)
    return f"{head}: {reasons}; it would fit if you {_smallest_change(board, asked)}"


def scores(cluster: Cluster, task: Task) -> list[tuple[str, Best]]:
    """Where a pending task would go, best first: the table that `why` shows."""
    asked = request.of(cluster, task, Tally(cluster, task.id.owner))
    if asked is None:
        return []
    board = Board(cluster)
    _, left = _funnel(board, asked)
    candidates = Candidates(board, asked, board.indexes(left))
    table = []
    while (best := candidates.best()) is not None:
        table.append((board.names[best.node], best))
        candidates.drop()
    return table


def scores_without(cluster: Cluster, task: Task) -> tuple[list[tuple[str, Best]], list[Refused]]:
    """Where a placed task would go now if it were not there; and which nodes refuse it."""
    without = after.after_one(cluster, change.ForgetTask(task.id), 0.0)
    moved = replace(task, node="")
    return scores(without, moved), funnel(without, moved)[0]


def won_by(best: Best, size: int) -> str:
    """The winner's numbers as small JSON, kept with the task: {"of": 12, "zone": ["a", 3], "tasks": 1, …}."""
    spread = "".join(f'"{key}": ["{value}", {count}], ' for key, value, count in best.spread)
    return f'{{"of": {size}, {spread}"tasks": {best.tasks}, "allocated": {best.share:.3f}}}'


def _funnel(board: Board, asked: Request) -> tuple[list[Refused], NodeSet]:
    left, refused = board.everywhere, []
    for each in FILTERS:
        after = each.allowed(board, asked, left)
        fallen: dict[str, list[str]] = {}
        for number, i in enumerate(board.indexes(left & ~after)):
            known = number < NODES_ASKED
            reason = each.why_not(board, asked, i) if known else f"refused by {each.name}"
            fallen.setdefault(reason, []).append(board.names[i])
        refused += [Refused(each.name, reason, tuple(names)) for reason, names in fallen.items()]
        left = after
    return refused, left


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _smallest_change(board: Board, asked: Request) -> str:
    """Of the node that fewest filters refuse, what would let it pass each of them."""
    remedies: list[tuple[int, str]] = []
    for i in board.indexes(_closest(board, asked))[:NODES_WEIGHED]:
        bit = 1 << i
        against = [each for each in FILTERS if not each.allowed(board, asked, bit)]
        remedies.append((len(against), " and ".join(each.remedy(board, asked, i) for each in against)))
    return min(remedies)[1]


def _closest(board: Board, asked: Request) -> NodeSet:
    """The nodes that got furthest through the filters."""
    left = board.everywhere
    for each in FILTERS:
        after = each.allowed(board, asked, left)
        if not after:
            break
        left = after
    return left
