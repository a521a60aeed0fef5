"""What users say of a rollout: undo, pause, resume, restart, promote, abort. Pure."""

import datetime as dt
from dataclasses import dataclass, replace

from controlplane.api import admit_service, errors
from controlplane.api.draft import Draft
from orch.model.names import ServiceName
from orch.model.rollout import Phase, Rollout
from orch.model.service import Service

RESTARTED_AT = "orch/restartedAt"
VERBS = ("undo", "pause", "resume", "restart", "promote", "abort")


@dataclass(frozen=True, slots=True)
class Order:
    """One of them."""

    verb: str
    to_revision: int = 0
    full: bool = False


def give(draft: Draft, name: ServiceName, order: Order) -> None:
    """Write the service so that it says so. Raises NotFound, NotPossible, Invalid."""
    service = admit_service.living(draft.cluster, name)
    if service is None:
        raise errors.NotFound(f"there is no service {name}")
    rollout = draft.cluster.rollout(name)
    match order.verb:
        case "undo":
            _undo(draft, service, rollout, order.to_revision)
        case "pause" | "resume":
            paused = replace(service.orders, paused=order.verb == "pause")
            admit_service.change(draft, name, service.spec, orders=paused)
        case "restart":
            _restart(draft, service)
        case "promote":
            _promote(draft, service, rollout, full=order.full)
        case "abort":
            _check_moving(service, rollout)
            aborted = replace(service.orders, aborted_revision=service.revision)
            admit_service.change(draft, name, service.spec, orders=aborted)
        case _:
            raise errors.Invalid(f"{order.verb!r} is not one of {', '.join(VERBS)}")


def _undo(draft: Draft, service: Service, rollout: Rollout | None, wanted: int) -> None:
    """The template of an older revision, as a new revision."""
    known = draft.cluster.revisions_of(service.name)
    older = [number for number in known if number < service.revision]
    if not wanted and rollout is not None and 0 < rollout.stable < service.revision:
        wanted = rollout.stable
    wanted = wanted or max(older, default=0)
    found = known.get(wanted)
    if found is None:
        numbers = ", ".join(map(str, sorted(known)))
        raise errors.NotPossible(
            f"{service.name} has no revision {wanted or 'before this one'}; there are {numbers}"
        )
    if wanted == service.revision:
        raise errors.NotPossible(f"revision {wanted} of {service.name} is what was asked for already")
    spec = service.spec.model_copy(update={"template": found.template})
    admit_service.change(draft, service.name, spec, why=f"undo to revision {wanted}")


def _restart(draft: Draft, service: Service) -> None:
    at = dt.datetime.fromtimestamp(draft.now, dt.UTC).isoformat()
    template = service.spec.template
    annotations = template.annotations | {RESTARTED_AT: at}
    template = template.model_copy(update={"annotations": annotations})
    admit_service.change(
        draft, service.name, service.spec.model_copy(update={"template": template}), why="restart"
    )


def _promote(draft: Draft, service: Service, rollout: Rollout | None, *, full: bool) -> None:
    _check_moving(service, rollout)
    if rollout is None or rollout.phase not in {Phase.CANARY, Phase.PAUSED}:
        raise errors.NotPossible(f"{service.name} is not in a canary: there is no step to promote")
    orders = replace(
        service.orders, promoted_revision=service.revision, promoted_steps=-1 if full else rollout.step + 1
    )
    admit_service.change(draft, service.name, service.spec, orders=orders)


def _check_moving(service: Service, rollout: Rollout | None) -> None:
    if rollout is None or rollout.phase is Phase.DONE:
        raise errors.NotPossible(f"no rollout of {service.name} is under way")
