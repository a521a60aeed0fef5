"""One control plane acts at a time, and the others know who.

The leader's key hangs on a lease, and its create revision is the *epoch*. Every write of a leader carries
`guard()`: once another has taken the key, no commit of the former leader counts, however late it arrives. So
the lease decides how long nobody leads after a crash, and never whether two could.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from controlplane.store import held_lease, port, timers

KEY = "/orch/leader"
DEFAULT_TTL_SECONDS = 5.0
PAUSE_SECONDS = 0.2
"""Before trying again, and to leave others the first go after stepping down."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads: what that control plane says of itself, and since which revision."""

    value: bytes
    epoch: int


class NotLeading(port.StoreError):
    """Another control plane leads, or nobody: this decision must not be written."""


class Leadership:
    """Campaigns, leads, loses, campaigns again; `run` is the task that does it."""

    def __init__(
        self,
        store: port.Store,
        value: bytes,
        *,
        clock: timers.Timers | None = None,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        key: str = KEY,
    ) -> None:
        self._store = store
        self._value = value
        self._key = key
        self._ttl_seconds = ttl_seconds
        self._clock = clock or asyncio.get_running_loop()
        self._held: held_lease.HeldLease | None = None
        self._epoch = 0
        self._resigning = asyncio.Event()
        self._listeners: set[Callable[[], None]] = set()
        self.leader: Leader | None = None
        """Who leads as far as we know; None while nobody does or we cannot tell."""

    @property
    def epoch(self) -> int | None:
        """Ours, while we lead."""
        return self._epoch if self._held is not None and self._held.is_held else None

    def guard(self) -> port.CreatedAt:
        """What every write of the leader carries. Raises NotLeading."""
        epoch = self.epoch
        if epoch is None:
            raise NotLeading("this control plane does not lead: nothing was written")
        return port.CreatedAt(self._key, epoch)

    def listen(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back when we begin or cease to lead, or another does; returns how to stop that."""
        self._listeners.add(changed)
        return lambda: self._listeners.discard(changed)

    async def run(self) -> None:
        """Campaign for ever; cancelled, it steps down first."""
        while True:
            try:
                await self._wait_vacant()
                await self._one_term()
            except port.StoreError as failure:
                log.warning("leadership: %s", failure)
                await timers.sleep_until(self._clock, self._clock.time() + PAUSE_SECONDS)

    def step_down(self) -> None:
        """Let another lead; we stand again when that one is gone, or at once when there is no other."""
        self._resigning.set()

    async def _wait_vacant(self) -> None:
        """Until nobody leads."""
        entry, revision = await self._store.get(self._key)
        if entry is not None:
            self._tell(Leader(entry.value, entry.created))
            await self._wait_removed(revision + 1)
            self._tell(None)

    async def _one_term(self) -> None:
        held = await held_lease.hold(self._store, self._ttl_seconds, self._clock)
        try:
            epoch = await self._claim(held)
            if epoch is not None:
                await self._lead(held, epoch)
        finally:
            await held.release()
        if self._resigning.is_set():
            await timers.sleep_until(self._clock, self._clock.time() + PAUSE_SECONDS)

    async def _lead(self, held: held_lease.HeldLease, epoch: int) -> None:
        self._held, self._epoch = held, epoch
        self._resigning.clear()
        self._tell(Leader(self._value, epoch))
        log.info("leading, epoch %d", epoch)
        try:
            log.warning("no longer leading: %s", await self._wait_end(held, epoch))
        finally:
            self._held = None
            self._tell(None)  # everybody here stops before the key is gone

    async def _claim(self, held: held_lease.HeldLease) -> int | None:
        """Our epoch, or None when another leads."""
        try:
            return await self._store.commit(
                [port.Absent(self._key)], [port.Put(self._key, self._value, lease=held.id)]
            )
        except port.Conflict:
            return None
        except port.OutcomeUnknown:
            entry, _ = await self._store.get(self._key)
            return entry.created if entry is not None and entry.lease == held.id else None

    async def _wait_end(self, held: held_lease.HeldLease, epoch: int) -> str:
        """Until our term is over: by the lease, by the key, or because we want it so. Returns why."""
        ends = {
            asyncio.create_task(held.wait_lost()): "the lease ended",
            asyncio.create_task(self._wait_removed(epoch + 1)): "the leader's key was removed",
            asyncio.create_task(self._resigning.wait()): "stepping down",
        }
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return ", ".join(ends[task] for task in done)
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _wait_removed(self, start: int) -> None:
        while True:
            try:
                async with aclosing(self._store.watch(self._key, start)) as batches:  # type: ignore[type-var]
                    async for batch in batches:
                        for event in batch.events:
                            if event.key == self._key and isinstance(event, port.Removed):
                                return
                raise port.Unavailable("the store was closed")
            except port.Compacted:
                entry, revision = await self._store.get(self._key)
                if entry is None or entry.created > start:
                    return
                start = revision + 1

    def _tell(self, leader: Leader | None) -> None:
        self.leader = leader
        for listener in tuple(self._listeners):
            listener()
