"""A copy of everything under a prefix, kept up to date in this process.

List at one revision, watch from the next, and list again when the history in between is gone. Now and then
the copy is compared with a fresh list: the etcd of Debian 12 can lose watch events, and nothing else would
notice. What is made of the entries is the fold's business.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

from controlplane.store import comparison, port, timers

COMPARE_EVERY_SECONDS = 60.0
SETTLE_SECONDS = 2.0
"""How long an event may be under way before it counts as lost."""
RETRY_SECONDS = 0.2

log = logging.getLogger(__name__)


class Fold(Protocol):
    """Makes of entries what its owner needs. Called in revision order, from the event loop's thread."""

    def replace(self, entries: Sequence[port.Entry], revision: int) -> None:
        """Begin anew: this is everything there is."""

    def update(self, batch: port.Batch) -> None:
        """Go on: this happened next; never called for progress without events."""


class Mirror:
    """`run` keeps it going; ask it for `revision`, `is_complete` and `lag`."""

    def __init__(
        self,
        store: port.Store,
        prefix: str,
        fold: Fold,
        *,
        clock: timers.Timers | None = None,
        compare_every_seconds: float = COMPARE_EVERY_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._fold = fold
        self._clock = clock or asyncio.get_running_loop()
        self._compare_every_seconds = compare_every_seconds
        self._settle_seconds = settle_seconds
        self._modified: dict[str, int] = {}
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._listeners: set[Callable[[], None]] = set()
        self._stale = asyncio.Event()
        self.revision = 0
        """Everything up to here has been folded; 0 before the first list."""
        self.repairs = 0
        """How often a comparison found the copy wrong."""
        self.last_contact: float | None = None
        """When, on the clock, the store last told us anything."""

    @property
    def is_complete(self) -> bool:
        """Whether the copy has ever been whole; from then on it is whole as of `revision`."""
        return self.revision > 0

    @property
    def lag_seconds(self) -> float | None:
        """How long the store has told us nothing; None before it ever did."""
        return None if self.last_contact is None else self._clock.time() - self.last_contact

    def listen(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back after the fold took something in; returns how to stop that."""
        self._listeners.add(changed)
        return lambda: self._listeners.discard(changed)

    async def wait_revision(self, revision: int) -> None:
        """Until everything up to that revision has been folded (1: until complete)."""
        if self.revision >= revision:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, reached))
        await reached

    async def run(self) -> None:
        """Follow the store for ever; raises Refused when the store does not let us."""
        comparing = asyncio.create_task(self._compare_for_ever(), name=f"comparison of {self._prefix}")
        try:
            while True:
                try:
                    await self._follow()
                except port.Compacted as gone:
                    log.warning("mirror of %s: %s", self._prefix, gone)
                except port.Unavailable as failure:
                    log.warning("mirror of %s: %s", self._prefix, failure)
                    await timers.sleep_until(self._clock, self._clock.time() + RETRY_SECONDS)
        finally:
            comparing.cancel()
            await asyncio.gather(comparing, return_exceptions=True)

    # ── following ────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        """List, then watch, until the copy proves stale or the store says that it must be listed again."""
        self._stale.clear()
        self._replace(await self._store.list(self._prefix))
        watching = asyncio.create_task(self._watch(), name=f"watch of {self._prefix}")
        stale = asyncio.create_task(self._stale.wait())
        try:
            await asyncio.wait({watching, stale}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                await watching
        finally:
            watching.cancel()
            stale.cancel()
            await asyncio.gather(watching, stale, return_exceptions=True)

    async def _watch(self) -> None:
        batches = self._store.watch(self._prefix, self.revision + 1)
        async with aclosing(batches):  # type: ignore[type-var]
            async for batch in batches:
                self._update(batch)
        raise port.Unavailable("the store was closed")

    def _replace(self, listing: port.Listing) -> None:
        self._modified = {entry.key: entry.modified for entry in listing.entries}
        self._fold.replace(listing.entries, listing.revision)
        self._reached(listing.revision)

    def _update(self, batch: port.Batch) -> None:
        for event in batch.events:
            if isinstance(event, port.Changed):
                self._modified[event.key] = event.modified
            else:
                self._modified.pop(event.key, None)
        if batch.events:
            self._fold.update(batch)
        self._reached(batch.revision)

    def _reached(self, revision: int) -> None:
        self.revision = revision
        self.last_contact = self._clock.time()
        for wanted, reached in self._waiting:
            if wanted <= revision and not reached.done():
                reached.set_result(None)
        self._waiting = [waiter for waiter in self._waiting if not waiter[1].done()]
        for listener in tuple(self._listeners):
            listener()

    # ── comparing ────────────────────────────────────────────────────────────────────────────────────────

    async def _compare_for_ever(self) -> None:
        while True:
            await timers.sleep_until(self._clock, self._clock.time() + self._compare_every_seconds)
            with suppress(port.StoreError):  # the watch finds out and says so
                await self.compare()

    async def compare(self) -> tuple[str, ...]:
        """Compare with a fresh list; returns what differs, and has it listed anew. Raises StoreError."""
        if not self.is_complete:
            return ()
        listing = await self._store.list(self._prefix, values=False)
        suspects = comparison.differences(self._modified, listing)
        if suspects:
            await timers.sleep_until(self._clock, self._clock.time() + self._settle_seconds)
            suspects = comparison.remaining(suspects, self._modified)
        if suspects:
            keys = tuple(sorted(suspects))
            log.error(
                "mirror of %s: %d keys are wrong, e.g. %s: listing again", self._prefix, len(keys), keys[0]
            )
            self.repairs += 1
            self._stale.set()
            return keys
        self.last_contact = self._clock.time()
        return ()
