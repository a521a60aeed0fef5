"""The deciders in their order, each seeing what the former decided: nodes, then each service, then places."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from controlplane.cluster import after, change, snapshot
from controlplane.controllers import decide
from controlplane.scheduler import place
from orch.model.names import ServiceName

MOST_WRITES_PER_LOOK = 1000
"""Of one service. What is written is planned in one slice, at 30 µs each."""
MOST_PLACED_PER_ROUND = 1000


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and the picture as it would be then."""

    changes: list[change.Change]
    after: snapshot.Cluster
    left: frozenset[ServiceName] = frozenset()
    """More is to be decided about these as soon as this is carried out."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Pure but for its one setting. What may take long comes in portions, between which others may act."""

    node_timeout: float
    """Seconds of silence after which a node is down."""

    def decide_nodes(self, cluster: snapshot.Cluster, ages: Mapping[str, float], now: float) -> Decision:
        """Which nodes are heard from; `ages` are seconds since each was."""
        heard = {node: now - age for node, age in ages.items()}
        changes = decide.decide_nodes(cluster, heard, now, self.node_timeout)
        return Decision(changes, after.after(cluster, changes, now))

    def decide_service(self, cluster: snapshot.Cluster, name: ServiceName, now: float) -> Iterator[Decision]:
        """Everything about one service but where its tasks go."""
        for portion in decide.look(cluster, name, now, MOST_WRITES_PER_LOOK):
            left = frozenset([name] if portion.was_cut else ())
            yield Decision(portion.changes, portion.after, left)

    def place_one(self, cluster: snapshot.Cluster, name: ServiceName, now: float) -> Iterator[Decision]:
        """Places for the pending tasks of one service."""
        return self.place(cluster, [name], now)

    def place(
        self, cluster: snapshot.Cluster, names: Sequence[ServiceName], now: float
    ) -> Iterator[Decision]:
        """Places for the pending tasks of these services, the most urgent first."""
        pending = [task for name in names for task in cluster.pending(name)]
        coming = place.place(cluster, pending)
        placed = 0
        while changes := list[change.Change](islice(coming, decide.PORTION)):
            placed += sum(isinstance(each, change.AssignTask) for each in changes)
            cluster = after.after(cluster, changes, now)
            is_cut = placed >= MOST_PLACED_PER_ROUND
            yield Decision(changes, cluster, frozenset(names if is_cut else ()))
            if is_cut:
                return
