"""The target first runs on a few, named by node, by count or by percent, and is watched there.

A step freezes its nodes when it begins. On exactly these nodes instances run the target and nothing of the
stable revision is placed; nowhere else does the target run. A node that dies gives its slot back to the
stable revision; the step is then inconclusive, and holds.
"""

from dataclasses import replace

from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import slots, wants
from controlplane.controllers.rollout import ending, progress, step
from controlplane.controllers.rollout.progress import Progress
from controlplane.controllers.rollout.said import Said, event, waits
from controlplane.controllers.slots import Layout
from orch.model.policy import CanaryStep
from orch.model.rollout import Phase, Rollout
from orch.model.service import Service


def advance(cluster: Cluster, service: Service, rollout: Rollout, now: float) -> tuple[Rollout, Said]:
    """Begin the step, watch it, pass it."""
    policy = service.spec.rollout.canary
    steps = policy.steps if policy else ()
    if rollout.step >= len(steps):
        return _roll_the_rest(service, rollout, now)
    if _is_promoted(service, rollout):
        return _next(service, rollout, len(steps), "promoted by the user", now)
    layout = slots.read(cluster, service)
    current = steps[rollout.step]
    rollout = step.keep(cluster, service, rollout, current, layout, now)
    if not rollout.slots:
        words = f"inconclusive: {_no_place(current)}"
        return replace(rollout, verdict=words, waiting=words), waits(service, words)
    return _watch(cluster, service, rollout, current, layout, now)


def _watch(
    cluster: Cluster, service: Service, rollout: Rollout, current: CanaryStep, layout: Layout, now: float
) -> tuple[Rollout, Said]:
    at = _measure(cluster, service, rollout, layout, now)
    dead = [node for node in rollout.nodes if not wants.is_usable(cluster.node(node), service)]
    if at.broken is not None:
        return ending.fail(service, rollout, progress.describe(cluster, at.broken), now)
    if dead:
        words = f"inconclusive: {', '.join(sorted(set(dead)))} cannot run it now"
        return _hold(service, replace(rollout, ready_since=0.0), words)
    if not at.is_complete:
        return _not_ready(cluster, service, rollout, at, now)
    left_hold = rollout.ready_since == 0 and bool(rollout.waiting)
    since = rollout.ready_since or (now if left_hold else max(at.latest, rollout.step_began_at))
    rollout = replace(rollout, ready_since=since)
    baked_at = since + current.bake
    if now < baked_at:
        words = f"healthy; baking for {current.bake:g}s"
        return replace(rollout, verdict=words, waiting=""), waits(service, words, baked_at)
    policy = service.spec.rollout.canary
    if policy and policy.promote == "manual":
        return _hold(service, rollout, "healthy; waiting for `orchctl rollout promote`")
    return _next(service, rollout, len(policy.steps) if policy else 0, "healthy", now)


def _measure(cluster: Cluster, service: Service, rollout: Rollout, layout: Layout, now: float) -> Progress:
    nodes = wants.canary_slots(cluster, service, rollout)
    watched = [slot for slot in layout if slot.number in nodes]
    return progress.measure(cluster, watched, rollout.target, now, 0.0, nodes)


def _not_ready(
    cluster: Cluster, service: Service, rollout: Rollout, at: Progress, now: float
) -> tuple[Rollout, Said]:
    """Losing readiness while baking starts the bake, and the deadline, anew; so does the end of a hold.

    Not every look at a hold: what is saved wakes the next look.
    """
    if at.lost and not at.behind:
        return _hold(service, replace(rollout, ready_since=0.0), f"inconclusive: {at.lost[0].node} is down")
    begins_anew = rollout.ready_since > 0 or bool(rollout.waiting)
    progressed_at = now if begins_anew else max(rollout.progressed_at, at.latest)
    rollout = replace(rollout, ready_since=0.0, progressed_at=progressed_at)
    limit = service.spec.rollout.progress_deadline
    words = f"{at.settled} of {at.slots} ready"
    if now >= progressed_at + limit:
        why = f"no progress for {limit:g}s; {progress.why_behind(cluster, service.name, at)}"
        return ending.fail(service, rollout, why, now)
    return replace(rollout, verdict=words, waiting=""), waits(service, words, progressed_at + limit)


def _hold(service: Service, rollout: Rollout, words: str) -> tuple[Rollout, Said]:
    return replace(rollout, verdict=words, waiting=words), waits(service, words)


def _no_place(current: CanaryStep) -> str:
    if current.match_labels:
        labels = ", ".join(f"{key}={value}" for key, value in current.match_labels.items())
        return f"no node is labelled {labels}"
    if current.nodes:
        return f"no instance can run on {', '.join(current.nodes)}"
    return "there is no instance"


def _is_promoted(service: Service, rollout: Rollout) -> bool:
    """The user lets the step pass, ready or not."""
    orders = service.orders
    if orders.promoted_revision != rollout.target:
        return False
    return orders.promoted_steps < 0 or orders.promoted_steps > rollout.step


def _next(service: Service, rollout: Rollout, steps: int, why: str, now: float) -> tuple[Rollout, Said]:
    number = rollout.step + 1
    said = Said((event(service, "CanaryStepPassed", f"step {number} of {steps}: {why}"),))
    if number >= steps:
        rolling, _ = _roll_the_rest(service, replace(rollout, step=number), now)
        return rolling, said
    return step.entered(rollout, number, now), said


def _roll_the_rest(_service: Service, rollout: Rollout, now: float) -> tuple[Rollout, Said]:
    rolling = replace(
        rollout, phase=Phase.ROLLING, nodes=(), slots=(), ready_since=0.0, verdict="", waiting=""
    )
    return replace(rolling, step_began_at=now, progressed_at=now), Said()
