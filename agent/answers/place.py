"""Where a user wants to look in."""

from dataclasses import dataclass

from agent.reconciler import configuration, perform
from agent.reconciler.asked import Asked
from agent.reconciler.observed import Container, Observed


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


def of(asked: Asked, seen: Observed, name: str) -> Place | None:
    """The container of that name, or without one the task's first; None where it has none so called."""
    wanted = name or asked.template.containers[0].name
    spec = next((each for each in asked.all_containers() if each.name == wanted), None)
    if spec is None:
        return None
    image = seen.images.get(spec.image)
    words = (
        configuration.environment(spec, image.config, perform.account_of(spec, seen), asked.hostname)
        if image
        else spec.environment
    )
    layers = image.layers if image else ()
    return Place(asked, seen.container(spec.name), layers, dict(words), seen.final is not None)
