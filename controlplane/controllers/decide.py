"""The order in which the promises are kept, each seeing what the former decided.

For a service: its virtual address → rollout (what each slot is to run) → replication (tasks for it) → retention
(what is over). The loop then asks the scheduler for places for the service's pending tasks. For the nodes: health;
whatever it marks wakes the services that have tasks there, which then decide for themselves.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from controlplane.cluster.after import after
from controlplane.cluster.change import Change, Tell, Waiting, WakeAt
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import node_health, replication, retention, rollout, virtual_address
from orch.model.names import ServiceName

Decider = Callable[[Cluster, ServiceName, float], Iterator[Change]]

SERVICE_DECIDERS: tuple[Decider, ...] = (
    virtual_address.decide,
    rollout.decide,
    replication.decide,
    retention.decide,
)
PORTION = 50
NO_BOUND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Portion:
    """Some of what a look at a service came to; whoever looks may pause after each."""

    changes: list[Change]
    after: Cluster
    """The picture with all changes so far in it."""
    was_cut: bool = False
    """There is more to decide, on the picture as it is then."""


def look(cluster: Cluster, name: ServiceName, now: float, most: int = NO_BOUND) -> Iterator[Portion]:
    """At most so many changes that are written. Deciders stop where they are cut: every prefix is legal."""
    for decider in SERVICE_DECIDERS:
        coming = decider(cluster, name, now)
        while changes := list(islice(coming, PORTION)):
            kept, most = _up_to(most, changes)
            cluster = after(cluster, kept, now)
            yield Portion(kept, cluster, was_cut=most < 0)
            if most < 0:
                return


def decide_service(cluster: Cluster, name: ServiceName, now: float) -> list[Change]:
    """Every prefix leaves a legal cluster; on what `after` makes of all, deciding again says nothing new."""
    return [change for portion in look(cluster, name, now) for change in portion.changes]


def decide_nodes(
    cluster: Cluster,
    heard: Mapping[str, float],
    now: float,
    timeout: float = node_health.DEFAULT_TIMEOUT_SECONDS,
) -> list[Change]:
    """Which nodes are down and which are back."""
    return list(node_health.decide(cluster, heard, timeout, now))


def _up_to(most: int, changes: Iterable[Change]) -> tuple[list[Change], int]:
    """How many may follow; below zero when there was one too many. What is told of the last is with it."""
    taken: list[Change] = []
    for each in changes:
        if not isinstance(each, Tell | Waiting | WakeAt):
            most -= 1
            if most < 0:
                break
        taken.append(each)
    return taken, most
