"""How a rollout begins, and what the user may say of it: another revision, pause, resume, abort."""

from dataclasses import replace

from controlplane.controllers import wants
from controlplane.controllers.rollout import ending
from controlplane.controllers.rollout.said import NOTHING, Said, event
from orch.model.rollout import Outcome, Phase, Rollout
from orch.model.service import ALL_STEPS, Service


def first(service: Service, now: float) -> Rollout:
    """A service's first deployment: there is nothing to go back to, and no canary."""
    return Rollout(
        service.name,
        birth=service.birth,
        target=service.revision,
        phase=Phase.ROLLING,
        step_began_at=now,
        progressed_at=now,
    )


def listen(service: Service, rollout: Rollout, now: float) -> tuple[Rollout, Said]:
    """A new revision starts over from stable; one that was given up is not tried again."""
    orders = service.orders
    if service.revision != rollout.target and not wants.is_given_up(rollout, service.revision):
        return _begin(service, rollout, now)
    if rollout.phase in {Phase.DONE, Phase.ROLLING_BACK}:
        return rollout, NOTHING
    if orders.aborted_revision == rollout.target and not _is_aborted(rollout):
        return ending.abort(service, rollout, now)
    given_up = wants.is_given_up(rollout, rollout.target)
    if orders.paused and rollout.phase is not Phase.PAUSED:
        return replace(rollout, phase=Phase.PAUSED, waiting="paused by the user"), NOTHING
    if not orders.paused and rollout.phase is Phase.PAUSED and not given_up:
        return _resumed(service, rollout, now), NOTHING
    return rollout, NOTHING


def _begin(service: Service, rollout: Rollout, now: float) -> tuple[Rollout, Said]:
    outcomes = rollout.outcomes
    if rollout.phase is not Phase.DONE and not wants.is_given_up(rollout, rollout.target):
        outcomes = ending.noted(
            rollout, Outcome.SUPERSEDED, f"revision {service.revision} was applied", now
        ).outcomes
    begun = replace(
        rollout,
        target=service.revision,
        phase=Phase.ROLLING,
        step=0,
        nodes=(),
        slots=(),
        step_began_at=now,
        ready_since=0.0,
        progressed_at=now,
        verdict="",
        waiting="",
        outcomes=outcomes,
    )
    if wants.may_be_canary(service, begun) and not _skips_canary(service):
        begun = replace(begun, phase=Phase.CANARY)
    said = event(service, "RolloutStarted", f"revision {service.revision} replaces {_what(rollout)}")
    return begun, Said((said,))


def _skips_canary(service: Service) -> bool:
    """Every step was let pass before the first began: an undo to what did well before."""
    orders = service.orders
    return orders.promoted_revision == service.revision and orders.promoted_steps == ALL_STEPS


def _what(rollout: Rollout) -> str:
    return f"revision {rollout.stable}" if rollout.stable else "what never ran"


def _is_aborted(rollout: Rollout) -> bool:
    """Aborted once already: what follows from it is not begun anew."""
    last = next((each for each in reversed(rollout.outcomes) if each.revision == rollout.target), None)
    return last is not None and last.outcome is Outcome.ABORTED


def _resumed(service: Service, rollout: Rollout, now: float) -> Rollout:
    phase = Phase.CANARY if wants.may_be_canary(service, rollout) else Phase.ROLLING
    return replace(rollout, phase=phase, progressed_at=now, step_began_at=now, waiting="")
