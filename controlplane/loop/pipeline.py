"""The deciders in their order, each seeing what the former decided: nodes, then each service, then places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.cluster import after, change, snapshot
from controlplane.controllers import decide
from controlplane.scheduler import place
from orch.model.names import ServiceName

Decision = tuple[list[change.Change], snapshot.Cluster]
"""What was decided, and the picture as it would be then."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Pure but for its one setting."""

    node_timeout: float
    """Seconds of silence after which a node is down."""

    def decide_nodes(self, cluster: snapshot.Cluster, ages: Mapping[str, float], now: float) -> Decision:
        """Which nodes are heard from; `ages` are seconds since each was."""
        heard = {node: now - age for node, age in ages.items()}
        changes = decide.decide_nodes(cluster, heard, now, self.node_timeout)
        return changes, after.after(cluster, changes, now)

    def decide_service(self, cluster: snapshot.Cluster, name: ServiceName, now: float) -> Decision:
        """Everything about one service but where its tasks go."""
        changes = decide.decide_service(cluster, name, now)
        return changes, after.after(cluster, changes, now)

    def place(self, cluster: snapshot.Cluster, names: Sequence[ServiceName], now: float) -> Decision:
        """Places for the pending tasks of these services."""
        changes: list[change.Change] = list(
            place.place(cluster, [task for name in names for task in cluster.pending(name)])
        )
        return changes, after.after(cluster, changes, now)
