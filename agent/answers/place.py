"""Where a user wants to look in."""

from dataclasses import dataclass

from agent.reconciler.asked import Asked
from agent.reconciler.observed import Container


class Refused(Exception):
    """It cannot be done; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container of a task is."""

    asked: Asked
    container: Container
    layers: tuple[str, ...]
    environment: dict[str, str]
    is_over: bool = False
    """The task has ended for good: nothing in it starts any more."""
