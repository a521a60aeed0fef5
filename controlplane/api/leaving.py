"""Which tasks that are to stop some node may still lead connections to.

A task leaves every node's tables before it is told to end. A node has let go of it when it has acknowledged the first
endpoints that were sent without it; one that says nothing for too long is not waited for.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from orch.model.names import TaskId

PATIENCE_SECONDS = 5.0


@dataclass(slots=True)
class _Leaving:
    until: float
    version: int | None = None
    """Of the first endpoints without it; None before they are sent."""


class Leaving:
    """Times are seconds of a clock that never jumps."""

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._leaving: dict[TaskId, _Leaving] = {}

    def __contains__(self, task: TaskId) -> bool:
        return task in self._leaving

    def left(self, tasks: Iterable[TaskId], now: float) -> None:
        """They are endpoints no more; the nodes have not been told yet."""
        for task in tasks:
            self._leaving.setdefault(task, _Leaving(now + self._patience))

    def sent(self, version: int) -> None:
        """The endpoints of this version are without all that have left."""
        for each in self._leaving.values():
            if each.version is None:
                each.version = version

    def came_back(self, tasks: Iterable[TaskId]) -> None:
        """They are endpoints again, or over."""
        for task in tasks:
            self._leaving.pop(task, None)

    def settle(self, acknowledged: Mapping[str, int], silent: Collection[str], now: float) -> list[TaskId]:
        """Those that nobody leads to any more, or has had long enough; they are told of once.

        `acknowledged`: node → its last version; `silent`: nodes that are thought to live and are not heard just now.
        """
        newest = min(acknowledged.values(), default=None)
        done = [
            task
            for task, each in self._leaving.items()
            if now >= each.until
            or (each.version is not None and not silent and (newest is None or newest >= each.version))
        ]
        for task in done:
            del self._leaving[task]
        return done

    def next_due(self) -> float | None:
        """When the patience with somebody ends."""
        return min((each.until for each in self._leaving.values()), default=None)
