"""What a step of a rollout says beside its new memory."""

from dataclasses import dataclass

from controlplane.cluster.change import Change, Tell, Waiting, WakeAt
from orch.model.event import EventType
from orch.model.service import Service


@dataclass(frozen=True, slots=True)
class Said:
    """Events to tell, and what is waited for."""

    tells: tuple[Change, ...] = ()
    waits: tuple[Change, ...] = ()


NOTHING = Said()


def event(service: Service, reason: str, message: str, kind: EventType = EventType.NORMAL) -> Tell:
    """Of the service."""
    return Tell(kind, reason, f"service/{service.name.name}", service.name.namespace, message)


def waits(service: Service, reason: str, *instants: float) -> Said:
    """Nothing moves now; look again at the first of the instants."""
    wake = (WakeAt(min(instants)),) if instants else ()
    return Said(waits=(Waiting(service.name, reason), *wake))
