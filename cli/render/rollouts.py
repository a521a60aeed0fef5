"""`orchctl rollout status`: a header, and a line for each part of the instances."""

from typing import Any

from cli.render import table, words
from cli.render.words import NOTHING


def status(view: Any, now: float) -> str:
    """A ServiceView → text."""
    rollout, service = view.rollout, view.service
    rows = [["service", f"{service.name.name} ({view.status})"], ["revision", _revisions(view)]]
    steps = len(service.spec.rollout.canary.steps)
    if rollout.phase == "canary" and steps:
        rows.append(["step", f"{rollout.step + 1} of {steps}" + _bake(view, now)])
    if rollout.verdict:
        rows.append(["verdict", rollout.verdict])
    if rollout.waiting and rollout.waiting != rollout.verdict:
        rows.append(["waiting", rollout.waiting])
    if view.reason and view.reason not in (rollout.verdict, rollout.waiting):
        rows.append(["reason", view.reason])
    if service.orders.paused and rollout.phase != "paused":
        rows.append(["paused", f"nothing new rolls until: orchctl rollout resume {service.name.name}"])
    moves = rollout.phase in {"canary", "rolling", "rolling-back"} and not rollout.waiting
    if moves and rollout.progressed_at:
        left = rollout.progressed_at + service.spec.rollout.progress_deadline - now
        rows.append(["deadline", f"in {words.span(left)} without progress" if left > 0 else "passed"])
    return table.lay_out(rows) + "\n" + table.lay_out([_HEADINGS, *(_ring(each) for each in view.rings)])


_HEADINGS = ["RING", "NODES", "DESIRED", "UPDATED", "READY", "FAILED", "VERDICT"]


def _ring(ring: Any) -> list[str]:
    counts = [str(each) for each in (ring.desired, ring.updated, ring.ready, ring.failed)]
    return [ring.name, ",".join(ring.nodes) or NOTHING, *counts, ring.verdict or NOTHING]


def _revisions(view: Any) -> str:
    stable, wanted = view.rollout.stable, view.service.revision
    if not stable:
        return f"{wanted} (the first)"
    return str(wanted) if stable == wanted else f"{stable} → {wanted}"


def _bake(view: Any, now: float) -> str:
    rollout = view.rollout
    step = view.service.spec.rollout.canary.steps[rollout.step]
    if not rollout.ready_since or not step.bake:
        return ""
    left = rollout.ready_since + step.bake - now
    return f", bakes {words.span(left)} more" if left > 0 else ", baked"
