"""Slots made ahead of need, so that a task that starts finds its place ready.

Refilled in the background once things are quiet, or at once when somebody waits.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence

from agent.network.addresses import Addresses, NoAddressLeftError
from agent.network.attachment import NetworkError
from agent.network.topology import Slot
from agent.network.workbench import Workbench

_log = logging.getLogger(__name__)

REFILL_AFTER_SECONDS = 0.1
"""Making slots competes with starting containers for the processors; a burst comes first."""
BATCH_SLOTS = 8
REMOVE_AFTER_SECONDS = 0.2
"""Removals are collected this long: the kernel waits for its readers once a batch, not once a link; and a task that
follows at once and finds no slot ready has its own made before."""


class Pool:
    """Has slots made on the workbench, and removed there."""

    def __init__(self, size: int, addresses: Addresses, workbench: Workbench) -> None:
        """Empty until `fill`."""
        self._size = size
        self._addresses = addresses
        self._workbench = workbench
        self._workshop = workbench.workshop
        self._ready: deque[Slot] = deque()
        self._waiting: deque[asyncio.Future[Slot]] = deque()
        self._wanted = asyncio.Event()
        """Somebody waits, and no slot is ready."""
        self._given_back: list[Slot] = []
        self._making: asyncio.Task[None] | None = None
        self._removing: asyncio.Task[None] | None = None
        self._hurried = asyncio.Event()
        """Somebody waits for what was given back to be gone."""
        self._removed = asyncio.Event()
        """A batch is gone, or could not be removed."""
        self._closed = False

    def fill(self) -> None:
        """Begins to fill in the background."""
        if self._making is None and not self._closed:
            self._making = asyncio.create_task(self._keep_full())

    async def take(self) -> Slot:
        """At once while there is a slot ready. Raises NetworkError."""
        if self._ready:
            self.fill()
            return self._ready.popleft()
        waiter: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._wanted.set()
        self.fill()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._deliver(waiter.result())
            raise

    async def remake(self, slot: Slot) -> None:
        """The same addresses again, for a task whose namespace is gone."""
        await self._workbench.do(self._workshop.remove, [slot.name])
        await self._workbench.do(self._workshop.make, [slot], _nobody)

    def give_back(self, slot: Slot) -> None:
        """Removed in the background; its addresses are free when nothing of it is left."""
        self._given_back.append(slot)
        if self._removing is None:
            self._removing = asyncio.create_task(self._remove())

    async def settle(self) -> None:
        """Returns when all that was given back is gone."""
        while self._removing is not None:
            await self._next_batch()

    async def close(self) -> None:
        """Ends the background work; slots that are ready stay where they are."""
        self._closed = True
        await self.settle()
        if self._making is not None:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)
        for waiter in self._waiting:
            waiter.cancel()

    async def _keep_full(self) -> None:
        try:
            while (missing := self._missing()) > 0:
                if not self._waiting and self._ready:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(REFILL_AFTER_SECONDS):
                            await self._wanted.wait()
                    missing = self._missing()
                self._wanted.clear()
                await self._make(min(BATCH_SLOTS, missing))
        except Exception as refusal:
            _log.warning("no network slot could be made: %s", refusal)
            self._disappoint(refusal)
        finally:
            self._making = None

    def _missing(self) -> int:
        waiting = sum(not waiter.done() for waiter in self._waiting)
        return self._size + waiting - len(self._ready)

    async def _make(self, count: int) -> None:
        slots = await self._reserved(count)
        loop = asyncio.get_running_loop()
        made: set[Slot] = set()

        def tell(slot: Slot) -> None:
            made.add(slot)
            loop.call_soon_threadsafe(self._deliver, slot)

        try:
            await self._workbench.do(self._workshop.make, slots, tell)
        except Exception:
            for slot in set(slots) - made:
                self._addresses.give_back(slot.addresses)
            raise

    async def _reserved(self, count: int) -> list[Slot]:
        while True:
            try:
                return self._reserve(count)
            except NoAddressLeftError:
                if self._removing is None:
                    raise
            await self._next_batch()  # some are on their way back

    def _reserve(self, count: int) -> list[Slot]:
        """Fewer where addresses run out, but at least one."""
        slots = [Slot(self._addresses.take())]
        with contextlib.suppress(NoAddressLeftError):
            while len(slots) < count:  # one at a time: none that was taken may be forgotten
                slots.append(Slot(self._addresses.take()))
        return slots

    def _deliver(self, slot: Slot) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(slot)
                return
        self._ready.append(slot)

    def _disappoint(self, refusal: Exception) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(refusal)

    async def _next_batch(self) -> None:
        """Now, not when it is full; returns when it is gone."""
        self._hurried.set()
        self._removed.clear()
        await self._removed.wait()

    async def _remove(self) -> None:
        try:
            while self._given_back:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REMOVE_AFTER_SECONDS):
                        await self._hurried.wait()
                self._hurried.clear()
                slots, self._given_back = self._given_back, []
                await self._remove_batch(slots)
                self._removed.set()
        finally:
            self._removing = None
            self._hurried.clear()
            self._removed.set()

    async def _remove_batch(self, slots: Sequence[Slot]) -> None:
        """A refusal keeps the addresses out of use; what is left is swept when the agent starts next."""
        try:
            await self._workbench.remove([slot.name for slot in slots])
        except NetworkError as refusal:
            _log.warning("%d network slots are not wholly removed: %s", len(slots), refusal)
            return
        for slot in slots:
            self._addresses.give_back(slot.addresses)


def _nobody(slot: Slot) -> None:
    """Nobody waits to be told."""
