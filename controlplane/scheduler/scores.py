"""Where is best.

Spread over the label keys, the first key first; then the node with the fewest tasks of the service; then the
one with the smallest allocated share; then by name.

A node on which this revision failed or was rejected comes after all on which it did not: the emptiest node is
often empty because nothing runs there.

The candidates form a tree: a level per spread key, a heap in each of its domains. Placing a task changes the
counts on one path only: the next choice costs the depth of the tree and not the number of nodes.
"""

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from controlplane.scheduler.board import Board
from controlplane.scheduler.request import Request

_Leaf = tuple[int, float, int]
"""Tasks of the service on the node, its share, its place on the board: the smaller the better."""
_Key = tuple[float, ...]


@dataclass(slots=True)
class _Domain:
    """Nodes with the same value of a label; below it the domains of the next label, or the nodes."""

    count: int = 0
    """Tasks of the service in it."""
    inner: dict[str, "_Domain"] = field(default_factory=dict)
    heap: list[tuple[_Key, str]] = field(default_factory=list)
    leaves: list[_Leaf] = field(default_factory=list)

    def build(self) -> None:
        heapify(self.leaves)
        for domain in self.inner.values():
            domain.build()
        self.heap = [(domain.key(), value) for value, domain in self.inner.items()]
        heapify(self.heap)

    def key(self) -> _Key:
        best: _Key = self.heap[0][0] if self.heap else self.leaves[0]
        return (self.count, *best)

    @property
    def is_empty(self) -> bool:
        return not self.heap and not self.leaves


@dataclass(frozen=True, slots=True)
class Best:
    """The node that is chosen next, and the numbers it wins by."""

    node: int
    tasks: int
    share: float
    spread: tuple[tuple[str, str, int], ...]
    """Label key, the node's value of it, tasks of the service there."""


class Candidates:
    """The nodes that passed the filters, best first, while tasks of one request are placed."""

    def __init__(self, board: Board, request: Request, nodes: list[int]) -> None:
        self.size = len(nodes)
        self._share = board.capacity.share
        self._keys = request.placement.spread
        staying, names = request.tally.staying(request.revision), board.names
        failed = request.tally.failed(request.revision)
        self._root = _Domain()
        if not self._keys and not failed:
            share = self._share
            self._root.leaves = [(staying.get(names[i], 0), share[i], i) for i in nodes]
        else:
            values = [_values_of(board, key) for key in self._keys]
            for i in nodes:
                self._add(i, staying.get(names[i], 0), failed.get(names[i], 0), values)
        self._root.build()

    def _add(self, i: int, tasks: int, failures: int, values: list[list[str]]) -> None:
        domain = self._root.inner.get(str(failures))
        if domain is None:
            domain = self._root.inner[str(failures)] = _Domain(count=failures)
        for of_key in values:
            inner = domain.inner.get(of_key[i])
            if inner is None:
                inner = domain.inner[of_key[i]] = _Domain()
            inner.count += tasks
            domain = inner
        domain.leaves.append((tasks, self._share[i], i))

    def best(self) -> Best | None:
        """None when no candidate is left."""
        domain = self._root
        if domain.is_empty:
            return None
        path = []
        while domain.heap:
            value = domain.heap[0][1]
            domain = domain.inner[value]
            path.append((value, domain.count))
        tasks, share, node = domain.leaves[0]
        spread = tuple((key, *at) for key, at in zip(self._keys, path[1:], strict=False))
        return Best(node, tasks, share, spread)

    def take(self) -> None:
        """The best node gets a task; its share has been updated on the board."""
        self._change_best(keep=True, added=1)

    def drop(self) -> None:
        """The best node is out of the question from now on."""
        self._change_best(keep=False, added=0)

    def take_and_drop(self) -> None:
        """The best node gets a task and can have no more."""
        self._change_best(keep=False, added=1)

    def _change_best(self, *, keep: bool, added: int) -> None:
        domain, path = self._root, []
        while domain.heap:
            value = heappop(domain.heap)[1]
            path.append((domain, value))
            domain = domain.inner[value]
        tasks, _, node = heappop(domain.leaves)
        if keep:
            heappush(domain.leaves, (tasks + added, self._share[node], node))
        for depth in range(len(path) - 1, -1, -1):
            outer, value = path[depth]
            inner = outer.inner[value]
            if depth:
                inner.count += added
            if not inner.is_empty:
                heappush(outer.heap, (inner.key(), value))


def _values_of(board: Board, label: str) -> list[str]:
    """Each node's value of the label; nodes without it are a domain of their own."""
    values = [""] * len(board.nodes)
    for value, where in board.by_attribute(f"node.labels.{label}").items():
        for i in board.indexes(where):
            values[i] = value
    return values
