"""Where a service stands between two revisions."""

from dataclasses import dataclass
from enum import StrEnum

from orch.model.names import ServiceName


class Phase(StrEnum):
    """What the rollout controller is doing."""

    DONE = "done"
    """Every slot has the stable revision."""
    CANARY = "canary"
    """A step's nodes or instances run the target; it is watched."""
    ROLLING = "rolling"
    """The target replaces the stable revision, a few at a time."""
    ROLLING_BACK = "rolling-back"
    """The target failed; the stable revision comes back."""
    PAUSED = "paused"
    """Nothing moves until the user says so."""


class Outcome(StrEnum):
    """How a revision ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class RevisionOutcome:
    """What became of one revision, for `rollout history`."""

    revision: int
    outcome: Outcome
    at: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """The rollout controller's memory of one service; written by nobody else.

    `stable` is the last revision that succeeded (0 before the first did), `target` the one being rolled; they are
    equal when nothing is.
    """

    service: ServiceName
    birth: int = 0
    stable: int = 0
    target: int = 0
    phase: Phase = Phase.DONE
    step: int = 0
    """The canary step, counted from 0."""
    nodes: tuple[str, ...] = ()
    """The step's nodes, frozen when it began."""
    slots: tuple[int, ...] = ()
    """The step's slots when it is by count or percent, or borrowed for nodes; frozen when it began."""
    step_began_at: float = 0.0
    ready_since: float = 0.0
    """Since when all of the step has been ready; 0 while it is not. The bake time counts from here."""
    progressed_at: float = 0.0
    """When an instance last got further; the deadline counts from here."""
    verdict: str = ""
    """For people: `baking until …`, `healthy`, `failed: web.2.3 exited with 1`, `inconclusive: vm-3 is down`."""
    waiting: str = ""
    """Why nothing moves now."""
    outcomes: tuple[RevisionOutcome, ...] = ()
    forgotten_attempt: int = 0
    """The greatest attempt of a task that retention has forgotten; attempts go on above it, so no uid returns."""
