"""The store in a dict: for tests, and for simulations that need faults on order.

Each `MemoryStore` is one client; give several the same keyspace and they are several control planes of one
cluster, each with faults of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from controlplane.store import keyspace, port, timers


@dataclass(slots=True)
class Faults:
    """What goes wrong for one client; counts go down as the faults happen."""

    cut: bool = False
    """Calls raise Unavailable and watches stand still, until `MemoryStore.heal`."""
    refuse_commits: int = 0
    """So many commits raise Unavailable without being applied."""
    lose_answers: int = 0
    """So many commits are applied, and then raise OutcomeUnknown."""
    lose_requests: int = 0
    """So many commits are not applied, and raise OutcomeUnknown all the same."""
    drop_event: Callable[[port.Event], bool] | None = None
    """Events for which this answers True never reach this client's watches (etcd 3.4 has done that)."""


class MemoryStore:
    """`port.Store` on a keyspace in this process."""

    def __init__(self, data: keyspace.Keyspace, faults: Faults | None = None) -> None:
        self.data = data
        self.faults = faults or Faults()
        self._wakes: set[asyncio.Event] = set()
        self._closed = False

    @classmethod
    def fresh(cls, clock: timers.Timers | None = None) -> "MemoryStore":
        """A client of a new, empty cluster; leases run on the event loop's clock unless another is given."""
        return cls(keyspace.Keyspace(clock or asyncio.get_running_loop()))

    def another(self) -> "MemoryStore":
        """A second client of the same cluster, without faults."""
        return MemoryStore(self.data)

    async def list(self, prefix: str, *, values: bool = True) -> port.Listing:
        """As the port says."""
        self._reach()
        entries = self.data.under(prefix)
        if not values:
            entries = [port.Entry(e.key, b"", e.created, e.modified, e.version, e.lease) for e in entries]
        return port.Listing(tuple(entries), self.data.revision)

    async def get(self, key: str) -> tuple[port.Entry | None, int]:
        """As the port says."""
        self._reach()
        return self.data.get(key), self.data.revision

    async def commit(self, guards: Sequence[port.Guard], writes: Sequence[port.Write]) -> int:
        """As the port says."""
        self._reach()
        faults = self.faults
        if faults.refuse_commits:
            faults.refuse_commits -= 1
            raise port.Unavailable("memory store: told to refuse this commit")
        if faults.lose_requests:
            faults.lose_requests -= 1
            raise port.OutcomeUnknown("memory store: told to lose this request")
        revision = self.data.commit(guards, writes)
        if faults.lose_answers:
            faults.lose_answers -= 1
            raise port.OutcomeUnknown("memory store: told to lose this answer")
        return revision

    async def watch(self, prefix: str, start: int) -> AsyncIterator[port.Batch]:
        """As the port says; one batch per revision."""
        wake = asyncio.Event()
        stop_listening = self.data.listen(wake.set)
        self._wakes.add(wake)
        try:
            while not self._closed:
                wake.clear()
                for batch in () if self.faults.cut else self.data.history(start):
                    if self.faults.cut or self._closed:
                        break
                    start = batch.revision + 1
                    events = tuple(event for event in batch.events if self._delivers(event, prefix))
                    if events:
                        yield port.Batch(batch.revision, events)
                if not wake.is_set():
                    await wake.wait()
        finally:
            stop_listening()
            self._wakes.discard(wake)

    async def grant(self, ttl_seconds: float) -> port.Grant:
        """As the port says."""
        self._reach()
        return self.data.grant(ttl_seconds)

    async def keepalive(self, lease: int) -> float:
        """As the port says."""
        self._reach()
        return self.data.keepalive(lease)

    async def revoke(self, lease: int) -> None:
        """As the port says."""
        self._reach()
        self.data.revoke(lease)

    async def close(self) -> None:
        """As the port says."""
        self._closed = True
        self._wake()

    def cut(self) -> None:
        """From here on this client cannot reach the cluster."""
        self.faults.cut = True

    def heal(self) -> None:
        """The client reaches the cluster again, and its watches go on where they stood."""
        self.faults.cut = False
        self._wake()

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()

    def _reach(self) -> None:
        if self.faults.cut or self._closed:
            raise port.Unavailable("memory store: closed" if self._closed else "memory store: cut off")

    def _delivers(self, event: port.Event, prefix: str) -> bool:
        if not event.key.startswith(prefix):
            return False
        return self.faults.drop_event is None or not self.faults.drop_event(event)
