"""HTTP requests as the nodes tell of them, summed in the leader's memory: fine for minutes, coarser for hours.

Nothing of it is stored: a leader that has just begun knows nothing yet, and says so by windows that are short.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.cluster.traffic import Window
from orch.model.names import ServiceName
from orch.model.traffic import RevisionTraffic

FINE_SECONDS = 5.0
FINE_FOR_SECONDS = 300.0
COARSE_SECONDS = 60.0
COARSE_FOR_SECONDS = 4 * 3600.0
MOST_REVISIONS = 20_000

Key = tuple[ServiceName, int]


@dataclass(slots=True)
class _Slot:
    begin: float
    requests: int = 0
    client_errors: int = 0
    server_errors: int = 0
    latency: Counter[int] = field(default_factory=Counter)

    def add(self, more: "RevisionTraffic | _Slot") -> None:
        self.requests += more.requests
        self.client_errors += more.client_errors
        self.server_errors += more.server_errors
        self.latency.update(more.latency)


@dataclass(slots=True)
class _Past:
    fine: deque[_Slot] = field(default_factory=deque)
    coarse: deque[_Slot] = field(default_factory=deque)


class Flow:
    """`now` are seconds of a clock that never jumps."""

    def __init__(self, now: float) -> None:
        self._begin = now
        self._past: dict[Key, _Past] = {}
        self._by_service: dict[ServiceName, set[int]] = {}
        self.unmeasured = 0
        """Requests that nodes served and could not tell of, since this leader began."""

    def take(self, said: Iterable[RevisionTraffic], unmeasured: int, now: float) -> None:
        """What a node tells of the time since its word before."""
        self.unmeasured += unmeasured
        for each in said:
            key = (each.service, each.revision)
            past = self._past.get(key)
            if past is None:
                if len(self._past) >= MOST_REVISIONS:
                    self._forget()
                past = self._past[key] = _Past()
                self._by_service.setdefault(each.service, set()).add(each.revision)
            _slot(past.fine, now, FINE_SECONDS).add(each)
            _age(past, now)

    def window(self, service: ServiceName, revision: int, now: float, seconds: float) -> Window:
        """The last so many seconds of a revision; beyond five minutes to the minute."""
        found = _Slot(0.0)
        begin = max(now - seconds, self._begin)
        past = self._past.get((service, revision), _Past())
        _age(past, now)
        for slots, width in ((past.coarse, COARSE_SECONDS), (past.fine, FINE_SECONDS)):
            for slot in slots:
                if slot.begin + width > begin:
                    found.add(slot)
        span = max(now - begin, FINE_SECONDS)
        return Window(span, found.requests, found.client_errors, found.server_errors, dict(found.latency))

    def windows(self, service: ServiceName, now: float, seconds: float) -> list[tuple[int, Window]]:
        """Of all revisions to which anything came."""
        found = [
            (each, self.window(service, each, now, seconds)) for each in self._by_service.get(service, ())
        ]
        return sorted((each for each in found if each[1].requests), key=lambda each: each[0])

    def _forget(self) -> None:
        """Those of which nothing was heard for longest."""
        quiet = sorted(self._past, key=lambda key: _last(self._past[key]))
        for key in quiet[: max(1, MOST_REVISIONS // 10)]:
            del self._past[key]
            self._by_service[key[0]].discard(key[1])


def _last(past: _Past) -> float:
    return max((slot.begin for slot in (*past.coarse, *past.fine)), default=0.0)


def _slot(slots: deque[_Slot], now: float, width: float) -> _Slot:
    begin = now - now % width
    if not slots or slots[-1].begin < begin:
        slots.append(_Slot(begin))
    return slots[-1]


def _age(past: _Past, now: float) -> None:
    """What is older is kept by the minute, and then not at all."""
    while past.fine and past.fine[0].begin < now - FINE_FOR_SECONDS:
        old = past.fine.popleft()
        _slot(past.coarse, old.begin, COARSE_SECONDS).add(old)
    while past.coarse and past.coarse[0].begin < now - COARSE_FOR_SECONDS:
        past.coarse.popleft()
