"""The memory store as one control plane sees it: some way off, and with faults on order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from controlplane.store import keys, keyspace, memory, port

WAY_SECONDS = 0.001
GIVE_UP_SECONDS = 1.0


class DistantStore:
    """`port.Store`; requests and answers take WAY_SECONDS each."""

    def __init__(
        self,
        data: keyspace.Keyspace,
        on_commit: Callable[[], None] = lambda: None,
        on_request: Callable[[Sequence[port.Guard], Sequence[port.Write]], None] = lambda _guards, _writes: (
            None
        ),
    ) -> None:
        self.near = memory.MemoryStore(data)
        self.watching = asyncio.Event()
        """Cleared, the mirror's watch stands still and comes back to a later world."""
        self.watching.set()
        self.late: list[float] = []
        """Seconds by which the next commits arrive late; their senders have given up long before."""
        self._on_commit = on_commit
        self._on_request = on_request
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def faults(self) -> memory.Faults:
        return self.near.faults

    async def list(self, prefix: str, *, values: bool = True) -> port.Listing:
        await asyncio.sleep(WAY_SECONDS)
        return await self.near.list(prefix, values=values)

    async def get(self, key: str) -> tuple[port.Entry | None, int]:
        await asyncio.sleep(WAY_SECONDS)
        return await self.near.get(key)

    async def commit(self, guards: Sequence[port.Guard], writes: Sequence[port.Write]) -> int:
        """The answer is lost when the store goes away before it is there."""
        self._on_request(guards, writes)
        await asyncio.sleep(WAY_SECONDS)
        if self.late:
            self._land_later(self.late.pop(0), guards, writes)
            await asyncio.sleep(GIVE_UP_SECONDS)
            raise port.OutcomeUnknown(f"no answer within {GIVE_UP_SECONDS:g}s")
        revision = await self.near.commit(guards, writes)
        self._on_commit()
        await asyncio.sleep(WAY_SECONDS)
        if self.faults.cut:
            raise port.OutcomeUnknown("the store went away before it answered")
        return revision

    def _land_later(self, delay: float, guards: Sequence[port.Guard], writes: Sequence[port.Write]) -> None:
        """Somewhere on its way a request waits, and arrives whether its sender still lives or not."""

        async def land() -> None:
            await asyncio.sleep(delay)
            with suppress(port.StoreError):
                self.near.data.commit(guards, writes)

        landing = asyncio.create_task(land())
        self._under_way.add(landing)
        landing.add_done_callback(self._under_way.discard)

    async def watch(self, prefix: str, start: int) -> AsyncIterator[port.Batch]:
        async for batch in self.near.watch(prefix, start):
            await asyncio.sleep(WAY_SECONDS)
            if prefix == keys.ROOT:
                await self.watching.wait()
            yield batch

    async def grant(self, ttl_seconds: float) -> port.Grant:
        await asyncio.sleep(WAY_SECONDS)
        return await self.near.grant(ttl_seconds)

    async def keepalive(self, lease: int) -> float:
        await asyncio.sleep(WAY_SECONDS)
        return await self.near.keepalive(lease)

    async def revoke(self, lease: int) -> None:
        await asyncio.sleep(WAY_SECONDS)
        await self.near.revoke(lease)

    async def close(self) -> None:
        await self.near.close()
