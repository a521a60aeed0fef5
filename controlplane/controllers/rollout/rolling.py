"""The target replaces the stable revision, a few at a time; or the stable revision comes back.

How many at a time is replication's arithmetic. Here: is it through, has it failed, or is it still on its way?
"""

from dataclasses import replace

from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import slots
from controlplane.controllers.rollout import ending, progress
from controlplane.controllers.rollout.progress import Progress
from controlplane.controllers.rollout.said import Said, waits
from orch.model.rollout import Phase, Rollout
from orch.model.service import Service


def advance(cluster: Cluster, service: Service, rollout: Rollout, now: float) -> tuple[Rollout, Said]:
    """Forth and back are alike; only their ends differ."""
    back = rollout.phase is Phase.ROLLING_BACK
    revision = rollout.stable if back else rollout.target
    at = _measure(cluster, service, rollout, revision, now)
    if at.is_complete:
        return ending.come_back(service, rollout) if back else ending.succeed(service, rollout, now)
    progressed_at = max(rollout.progressed_at, at.latest)
    deadline = progressed_at + service.spec.rollout.progress_deadline
    words = f"{at.settled} of {at.slots} have revision {revision}"
    moving = replace(rollout, progressed_at=progressed_at)
    if not back:
        moving = replace(moving, verdict=words)
    why = _failure(cluster, service, rollout, at, deadline, now)
    if why and back:
        return ending.fail_to_come_back(service, moving, why)
    if why:
        return ending.fail(service, moving, why, now)
    if at.lost and now >= deadline:
        nodes = ", ".join(sorted({task.node for task in at.lost}))
        words = f"{words}; inconclusive: {nodes} down"
        return replace(moving, waiting=words), waits(service, words)
    return replace(moving, waiting=""), waits(service, words, deadline)


def paused(cluster: Cluster, service: Service, rollout: Rollout, now: float) -> tuple[Rollout, Said]:
    """Nothing moves. A first deployment that failed and got well by itself has succeeded after all."""
    if rollout.stable or service.orders.paused:
        return rollout, waits(service, rollout.waiting)
    if _measure(cluster, service, rollout, rollout.target, now).is_complete:
        return ending.succeed(service, rollout, now)
    return rollout, waits(service, rollout.waiting)


def _measure(cluster: Cluster, service: Service, rollout: Rollout, revision: int, now: float) -> Progress:
    layout = slots.read(cluster, service)
    is_new = rollout.phase is not Phase.ROLLING_BACK and rollout.stable != revision
    since = 0.0 if is_new else rollout.step_began_at
    return progress.measure(cluster, layout, revision, now, since, {})


def _failure(
    cluster: Cluster, service: Service, rollout: Rollout, at: Progress, deadline: float, now: float
) -> str:
    """Why it has failed, or nothing. A first deployment has until its deadline, whatever breaks."""
    if at.broken is not None and rollout.stable and rollout.phase is Phase.ROLLING:
        return progress.describe(cluster, at.broken)
    if now < deadline or (at.lost and not at.behind and at.broken is None):
        return ""
    left = service.spec.rollout.progress_deadline
    return f"no progress for {left:g}s; {progress.why_behind(cluster, service.name, at)}"
