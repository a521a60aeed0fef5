"""The order in which the promises are kept, each seeing what the former decided.

For a service: rollout (what each slot is to run) → replication (tasks for it) → retention (what is over). The
loop then asks the scheduler for places for the service's pending tasks. For the nodes: health; whatever it
marks wakes the services that have tasks there, which then decide for themselves.
"""

from collections.abc import Callable, Iterator, Mapping

from controlplane.cluster.after import after
from controlplane.cluster.change import Change
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import node_health, replication, retention, rollout
from orch.model.names import ServiceName

Decider = Callable[[Cluster, ServiceName, float], Iterator[Change]]

SERVICE_DECIDERS: tuple[Decider, ...] = (rollout.decide, replication.decide, retention.decide)


def decide_service(cluster: Cluster, name: ServiceName, now: float) -> list[Change]:
    """Every prefix leaves a legal cluster; on what `after` makes of all, deciding again says nothing new."""
    decided: list[Change] = []
    for decider in SERVICE_DECIDERS:
        changes = list(decider(cluster, name, now))
        cluster = after(cluster, changes, now)
        decided += changes
    return decided


def decide_nodes(
    cluster: Cluster,
    heard: Mapping[str, float],
    now: float,
    timeout: float = node_health.DEFAULT_TIMEOUT_SECONDS,
) -> list[Change]:
    """Which nodes are down and which are back."""
    return list(node_health.decide(cluster, heard, timeout, now))
