"""One revision replaces another, and comes back when it fails: the keeper of `Rollout`.

`stable` is the last revision that succeeded, `target` the one that is to replace it. What each slot is to run
follows from the memory kept here (`controllers.wants`); replication makes it so.

* `start` a new apply, and what the user says: pause, resume, abort
* `canary` a few first, watched
* `rolling` the rest, and the way back
* `ending` how a revision ends: succeeded, failed, rolled back
* `progress` how far it is, what fails, and since when nothing moved
* `admission` what can never work, told at apply
"""

from collections.abc import Iterator
from typing import assert_never

from controlplane.cluster.change import Change, SaveRollout
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers.rollout import canary, rolling, start
from controlplane.controllers.rollout.said import Said
from orch.model.names import ServiceName
from orch.model.rollout import Phase, Rollout
from orch.model.service import Service

MOST_MOVES_PER_LOOK = 32
"""A look follows a rollout through phases and steps that ask for no wait: more than the longest chain."""


def decide(cluster: Cluster, name: ServiceName, now: float) -> Iterator[Change]:
    """The memory as it should be now; what changed, why it waits, and when to look again."""
    service = cluster.service(name)
    if service is None or service.deleted:
        return
    known = cluster.rollout(name)
    current = known or start.first(service, now)
    told: list[Change] = []
    said = Said(())
    for _ in range(MOST_MOVES_PER_LOOK):
        before = current
        current, said = _move(cluster, service, current, now)
        told += said.tells
        if (current.phase, current.step, current.target) == (before.phase, before.step, before.target):
            break
    if current != known:
        yield SaveRollout(current)
    yield from told
    yield from said.waits


def _move(cluster: Cluster, service: Service, rollout: Rollout, now: float) -> tuple[Rollout, Said]:
    moved, said = start.listen(service, rollout, now)
    if moved.phase is not rollout.phase or moved.target != rollout.target:
        return moved, said
    match moved.phase:
        case Phase.DONE:
            return moved, said
        case Phase.CANARY:
            return canary.advance(cluster, service, moved, now)
        case Phase.ROLLING | Phase.ROLLING_BACK:
            return rolling.advance(cluster, service, moved, now)
        case Phase.PAUSED:
            return rolling.paused(cluster, service, moved, now)
        case _:
            assert_never(moved.phase)
