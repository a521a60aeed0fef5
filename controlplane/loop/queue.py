"""The names that wait to be looked at: each once, urgent or due at an instant, backing off after failures.

A trigger carries no data: whoever takes a name looks at the picture, not at what woke it.
"""

import heapq
from collections.abc import Iterable

from orch.model.names import ServiceName

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 5.0


class Queue:
    """Names ready now, and names due later."""

    def __init__(self) -> None:
        self._ready: dict[ServiceName, None] = {}
        self._later: list[tuple[float, ServiceName]] = []
        self._due: dict[ServiceName, float] = {}
        self._failures: dict[ServiceName, int] = {}

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, name: ServiceName) -> None:
        """Look at it as soon as possible; adding it twice is adding it once."""
        self._ready[name] = None

    def add_at(self, name: ServiceName, instant: float) -> None:
        """Look at it at this instant, or earlier when an earlier one is already set."""
        if self._due.get(name, float("inf")) > instant:
            self._due[name] = instant
            heapq.heappush(self._later, (instant, name))

    def take(self, now: float, most: int) -> list[ServiceName]:
        """The next names, oldest first; they are out of the queue until added again."""
        self._move_due(now)
        taken = [name for name, _ in zip(self._ready, range(most), strict=False)]
        for name in taken:
            del self._ready[name]
        return taken

    def next_due(self) -> float | None:
        """When the next name is due that is not ready yet."""
        while self._later:
            instant, name = self._later[0]
            if self._due.get(name) == instant:
                return instant
            heapq.heappop(self._later)
        return None

    def failed(self, names: Iterable[ServiceName], now: float) -> None:
        """They could not be carried out: again soon, each time later."""
        for name in names:
            count = self._failures.get(name, 0)
            self._failures[name] = count + 1
            self.add_at(name, now + min(FIRST_PAUSE_SECONDS * 2**count, LONGEST_PAUSE_SECONDS))

    def succeeded(self, name: ServiceName) -> None:
        """The next failure counts as the first again."""
        self._failures.pop(name, None)

    def _move_due(self, now: float) -> None:
        while (instant := self.next_due()) is not None and instant <= now:
            _, name = heapq.heappop(self._later)
            del self._due[name]
            self._ready[name] = None
