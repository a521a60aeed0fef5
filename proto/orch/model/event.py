"""What happened, and why."""

from dataclasses import dataclass
from enum import StrEnum


class EventType(StrEnum):
    """Whether someone should look."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of `orchctl events`; the same thing again raises `count` and `last_at`."""

    type: EventType
    reason: str
    """One CamelCase word: Scheduled, NodeDown, RolledBack …"""
    object: str
    """`service/web`, `task/web.2.7`, `node/n1`."""
    namespace: str
    message: str
    count: int = 1
    first_at: float = 0.0
    last_at: float = 0.0
    id: str = ""
