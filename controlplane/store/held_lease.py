"""A lease held for as long as the store, and our own clock, let us.

It is lost when the store says so, or when its time has passed since we last *asked* for more (not since the
answer came): a process that was frozen, or cut off, knows on its own that it has lost it.
"""

import asyncio
from contextlib import suppress

from controlplane.store import port, timers

RENEWALS_PER_TERM = 3
RETRIES_PER_TERM = 10


class HeldLease:
    """Made by `hold`; renews itself in the background."""

    def __init__(self, store: port.Store, grant: port.Grant, asked_at: float, clock: timers.Timers) -> None:
        self.id = grant.id
        self.ttl_seconds = grant.ttl_seconds
        self.deadline = asked_at + grant.ttl_seconds
        """When it is lost by our clock, unless it is renewed before."""
        self._store = store
        self._clock = clock
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._timer = clock.call_at(self.deadline, self._check_time)
        self._renewing = asyncio.create_task(self._renew(asked_at), name=f"lease {grant.id:x}")

    @property
    def is_held(self) -> bool:
        """Whether we still have it, looking at the clock first."""
        self._check_time()
        return not self._lost.done()

    async def wait_lost(self) -> str:
        """Until it is lost or released; returns why."""
        return await asyncio.shield(self._lost)

    async def release(self) -> None:
        """Give it back, so that its keys are gone at once; out of the store's reach it runs out by itself."""
        self._lose("it was given back")
        await asyncio.gather(self._renewing, return_exceptions=True)
        with suppress(port.StoreError):
            await self._store.revoke(self.id)

    async def _renew(self, asked_at: float) -> None:
        next_at = asked_at + self.ttl_seconds / RENEWALS_PER_TERM
        while True:
            await timers.sleep_until(self._clock, next_at)
            asked_at = self._clock.time()
            try:
                self.ttl_seconds = await self._store.keepalive(self.id)
            except port.LeaseLost as lost:
                self._lose(str(lost))
                return
            except port.StoreError:
                next_at = self._clock.time() + self.ttl_seconds / RETRIES_PER_TERM
            else:
                self.deadline = asked_at + self.ttl_seconds
                next_at = asked_at + self.ttl_seconds / RENEWALS_PER_TERM

    def _check_time(self) -> None:
        if self._lost.done():
            return
        self._timer.cancel()
        if self._clock.time() >= self.deadline:
            self._lose(f"it was not renewed within {self.ttl_seconds:g} s")
        else:
            self._timer = self._clock.call_at(self.deadline, self._check_time)

    def _lose(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)
            self._timer.cancel()
            self._renewing.cancel()


async def hold(store: port.Store, ttl_seconds: float, clock: timers.Timers) -> HeldLease:
    """A new lease, held from now on. Raises Unavailable, Refused."""
    asked_at = clock.time()
    return HeldLease(store, await store.grant(ttl_seconds), asked_at, clock)
