"""What users say of a rollout: undo, pause, resume, restart, promote, abort. Pure."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace

from controlplane.api import admit_http, admit_service, errors
from controlplane.api.draft import Draft
from controlplane.controllers import wants
from orch.model.names import ServiceName
from orch.model.rollout import Outcome, Phase, Rollout
from orch.model.service import ALL_STEPS, Revision, Service, TaskTemplate

RESTARTED_AT = "orch/restartedAt"
VERBS = ("undo", "pause", "resume", "restart", "promote", "abort")


@dataclass(frozen=True, slots=True)
class Order:
    """One of them."""

    verb: str
    to_revision: int = 0
    full: bool = False
    through_canary: bool = False


def give(draft: Draft, name: ServiceName, order: Order) -> None:
    """Write the service so that it says so. Raises NotFound, NotPossible, Invalid."""
    service = admit_service.living(draft.cluster, name)
    if service is None:
        raise errors.NotFound(f"there is no service {name}")
    rollout = draft.cluster.rollout(name)
    match order.verb:
        case "undo":
            _undo(draft, service, rollout, order)
        case "pause" | "resume":
            paused = replace(service.orders, paused=order.verb == "pause")
            admit_service.change(draft, name, service.spec, orders=paused)
        case "restart":
            _restart(draft, service, rollout)
        case "promote":
            _promote(draft, service, rollout, full=order.full)
        case "abort":
            _check_moving(service, rollout)
            aborted = replace(service.orders, aborted_revision=service.revision)
            admit_service.change(draft, name, service.spec, orders=aborted)
        case _:
            raise errors.Invalid(f"{order.verb!r} is not one of {', '.join(VERBS)}")


def _undo(draft: Draft, service: Service, rollout: Rollout | None, order: Order) -> None:
    """The template of an older revision, as a new revision.

    One that did well before has been through its canary already: it comes back at once, also when the rollout
    is paused, unless the user asks for the steps.
    """
    known = draft.cluster.revisions_of(service.name)
    wanted = order.to_revision or _one_before(known, service, rollout)
    found = known.get(wanted)
    if found is None:
        numbers = ", ".join(map(str, sorted(known)))
        raise errors.NotPossible(
            f"{service.name} has no revision {wanted or 'before this one'}; there are {numbers}"
        )
    if wanted == service.revision:
        raise errors.NotPossible(f"revision {wanted} of {service.name} is what was asked for already")
    is_proven = _did_well(rollout, wanted) and not order.through_canary
    spec = service.spec.model_copy(update={"template": found.template})
    admit_service.change(draft, service.name, spec, why=f"undo to revision {wanted}", skips_canary=is_proven)
    admit_http.check(draft)
    if draft.problems:
        raise errors.NotPossible("\n".join(draft.problems))


def _one_before(known: Mapping[int, Revision], service: Service, rollout: Rollout | None) -> int:
    """What undo means without a number: the stable revision, or else the last other one that did well."""
    if rollout is not None and 0 < rollout.stable < service.revision:
        return rollout.stable
    older = [
        number
        for number, revision in known.items()
        if number < service.revision and _as_written(revision.template) != _as_written(service.spec.template)
    ]
    proven = [number for number in older if _did_well(rollout, number)]
    return max(proven or older, default=0)


def _as_written(template: TaskTemplate) -> TaskTemplate:
    """Without the mark of a restart, which makes a revision but changes nothing."""
    kept = {key: value for key, value in template.annotations.items() if key != RESTARTED_AT}
    return template.model_copy(update={"annotations": kept})


def _did_well(rollout: Rollout | None, revision: int) -> bool:
    outcomes = rollout.outcomes if rollout is not None else ()
    return any(each.revision == revision and each.outcome is Outcome.SUCCEEDED for each in outcomes)


def _restart(draft: Draft, service: Service, rollout: Rollout | None) -> None:
    """What runs is started afresh: after a rollback that is the stable revision, not the one that failed."""
    at = dt.datetime.fromtimestamp(draft.now, dt.UTC).isoformat()
    template = service.spec.template
    if rollout is not None and rollout.phase is Phase.DONE and rollout.stable != service.revision:
        stable = draft.cluster.template(service.name, rollout.stable)
        if stable is not None and wants.is_given_up(rollout, service.revision):
            draft.warnings.append(
                f"{service.name}: revision {service.revision} was given up; "
                f"revision {rollout.stable}, which runs, is restarted, and is what is asked for from now on"
            )
            template = stable
    template = template.model_copy(update={"annotations": template.annotations | {RESTARTED_AT: at}})
    admit_service.change(
        draft, service.name, service.spec.model_copy(update={"template": template}), why="restart"
    )


def _promote(draft: Draft, service: Service, rollout: Rollout | None, *, full: bool) -> None:
    _check_moving(service, rollout)
    if rollout is None or rollout.phase not in {Phase.CANARY, Phase.PAUSED}:
        raise errors.NotPossible(f"{service.name} is not in a canary: there is no step to promote")
    orders = replace(
        service.orders,
        promoted_revision=service.revision,
        promoted_steps=ALL_STEPS if full else rollout.step + 1,
    )
    admit_service.change(draft, service.name, service.spec, orders=orders)


def _check_moving(service: Service, rollout: Rollout | None) -> None:
    if rollout is None or rollout.phase is Phase.DONE:
        raise errors.NotPossible(f"no rollout of {service.name} is under way")
