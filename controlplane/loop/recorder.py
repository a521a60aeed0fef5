"""Writes events, off the critical path: the same thing again is counted, old ones are forgotten.

An event that is lost with its leader is only a line less; nothing is decided on events.
"""

import asyncio
import logging
from dataclasses import replace

from controlplane.cluster import change
from controlplane.loop import clock, picture
from controlplane.store import codec, leadership, port
from orch.model.event import Event

FLUSH_SECONDS = 0.5
MOST_EVENTS = 2_000
MOST_WAITING = 1_000
KEPT_SECONDS = 7 * 24 * 3600.0
SAME_WITHIN_SECONDS = 3600.0
WRITES_PER_COMMIT = 100

log = logging.getLogger(__name__)
_Sameness = tuple[str, str, str, str, str]


class Recorder:
    """Tell it; it writes when it has time."""

    def __init__(
        self,
        store: port.Store,
        seen: picture.Picture,
        leader: leadership.Leadership,
        time: clock.Clock,
    ) -> None:
        self._store = store
        self._picture = seen
        self._leader = leader
        self._clock = time
        self._waiting: dict[_Sameness, Event] = {}
        self._written: dict[_Sameness, Event] = {}
        self._count = 0
        self._has_news = asyncio.Event()

    def tell(self, one: change.Tell) -> None:
        """Remember it for the next flush; beyond MOST_WAITING the newest are dropped."""
        now = self._clock.now()
        same = (str(one.type), one.reason, one.object, one.namespace, one.message)
        known = self._waiting.get(same) or self._written.get(same)
        if known is not None and now - known.last_at < SAME_WITHIN_SECONDS:
            self._waiting[same] = replace(known, count=known.count + 1, last_at=now)
        elif len(self._waiting) < MOST_WAITING:
            self._count += 1
            identity = f"{int(now * 1000):014d}-{self._count % 10_000:04d}"
            self._waiting[same] = Event(
                one.type,
                one.reason,
                one.object,
                one.namespace,
                one.message,
                first_at=now,
                last_at=now,
                id=identity,
            )
        self._has_news.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            await self._flush()
            await asyncio.sleep(FLUSH_SECONDS)

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        edits: list[codec.Edit] = [codec.Save(event) for event in waiting.values()]
        saved = {edit.key for edit in edits}
        edits += [edit for edit in self._old(len(edits)) if edit.key not in saved]
        self._written |= waiting
        if len(self._written) > MOST_EVENTS:
            self._written = dict(list(self._written.items())[-MOST_EVENTS // 2 :])
        for start in range(0, len(edits), WRITES_PER_COMMIT):
            part = edits[start : start + WRITES_PER_COMMIT]
            try:
                guard = self._leader.guard()
                newer = self._picture.cluster.newer
                revision = await self._store.commit([guard], [codec.write(edit, newer) for edit in part])
            except port.StoreError as failure:
                log.info("events were not written: %s", failure)
                return
            self._picture.committed(part, revision)

    def _old(self, coming: int) -> list[codec.Edit]:
        """What there is no room or no reason for any more; keys begin with the time, so they are in order."""
        known = sorted(self._picture.events)
        too_many = known[: max(0, len(known) + coming - MOST_EVENTS)]
        limit = self._clock.now() - KEPT_SECONDS
        too_old = [key for key in known if self._picture.events[key].last_at < limit]
        return [codec.Drop(key) for key in dict.fromkeys([*too_many, *too_old])]
