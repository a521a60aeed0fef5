"""How a revision ends: it succeeded, it failed, it was aborted; and what follows from that."""

from dataclasses import replace

from controlplane.controllers.rollout.said import Said, event
from orch.model.event import EventType
from orch.model.rollout import Outcome, Phase, RevisionOutcome, Rollout
from orch.model.service import Service

OUTCOMES_KEPT = 100
"""As many as revisions can be kept (`historyLimit`)."""


def noted(rollout: Rollout, outcome: Outcome, reason: str, now: float) -> Rollout:
    """The outcome of the target joins the history."""
    outcomes = (*rollout.outcomes, RevisionOutcome(rollout.target, outcome, now, reason))
    return replace(rollout, outcomes=outcomes[-OUTCOMES_KEPT:])


def succeed(service: Service, rollout: Rollout, now: float) -> tuple[Rollout, Said]:
    """Every slot has the target: from now on it is the stable revision."""
    done = noted(rollout, Outcome.SUCCEEDED, "", now)
    done = replace(_settled(done), phase=Phase.DONE, stable=rollout.target, verdict="healthy")
    said = event(service, "RolledOut", f"revision {rollout.target} is everywhere")
    return done, Said((said,))


def fail(service: Service, rollout: Rollout, reason: str, now: float) -> tuple[Rollout, Said]:
    """Back to stable; or stop where it is, by the policy or because there is nothing to go back to."""
    failed = noted(rollout, Outcome.FAILED, reason, now)
    failed = replace(failed, verdict=f"failed: {reason}", ready_since=0.0)
    if rollout.stable in {0, rollout.target}:
        return _stopped(service, failed, f"{reason}; there is no other revision to go back to")
    if service.spec.rollout.on_failure == "pause":
        return _stopped(service, failed, f"{reason}; onFailure is pause")
    message = f"revision {rollout.target} failed: {reason}; going back to revision {rollout.stable}"
    return _back(failed, now), Said((event(service, "RollingBack", message, EventType.WARNING),))


def abort(service: Service, rollout: Rollout, now: float) -> tuple[Rollout, Said]:
    """The user gave the target up."""
    aborted = replace(noted(rollout, Outcome.ABORTED, "by the user", now), verdict="aborted by the user")
    if rollout.stable in {0, rollout.target}:
        return _stopped(service, aborted, "aborted by the user; there is no other revision to go back to")
    message = f"revision {rollout.target} was aborted; going back to revision {rollout.stable}"
    return _back(aborted, now), Said((event(service, "RollingBack", message),))


def come_back(service: Service, rollout: Rollout) -> tuple[Rollout, Said]:
    """Every slot has the stable revision again."""
    done = replace(_settled(rollout), phase=Phase.DONE, target=rollout.stable)
    message = f"revision {rollout.stable} is everywhere again; revision {rollout.target} {rollout.verdict}"
    return done, Said((event(service, "RolledBack", message, EventType.WARNING),))


def fail_to_come_back(service: Service, rollout: Rollout, reason: str) -> tuple[Rollout, Said]:
    """A rollback that fails stops; it never loops."""
    return _stopped(
        service, replace(rollout, verdict=f"rollback failed: {reason}"), f"the rollback failed too: {reason}"
    )


def _settled(rollout: Rollout) -> Rollout:
    return replace(rollout, step=0, nodes=(), slots=(), ready_since=0.0, waiting="")


def _back(rollout: Rollout, now: float) -> Rollout:
    back = replace(_settled(rollout), phase=Phase.ROLLING_BACK)
    return replace(back, step_began_at=now, progressed_at=now)


def _stopped(service: Service, rollout: Rollout, reason: str) -> tuple[Rollout, Said]:
    stopped = replace(rollout, phase=Phase.PAUSED, waiting=f"{reason}: apply a revision that works, or abort")
    message = f"revision {rollout.target} stands still: {reason}"
    return stopped, Said((event(service, "RolloutFailed", message, EventType.WARNING),))
