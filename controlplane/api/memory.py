"""What a request with an id did, so that the same request sent twice happens once.

The memory is written in the request's own transaction, and ends with a lease that many requests share.
"""

from dataclasses import dataclass

from controlplane.loop import clock
from controlplane.store import codec, keys, port

LEASE_SECONDS = 600.0
LONGEST_ID = 128


@dataclass(slots=True)
class Requests:
    """Remembers requests for at least half the lease's time."""

    store: port.Store
    clock: clock.Clock
    _lease: int = 0
    _granted_at: float = float("-inf")

    async def done(self, identity: str) -> tuple[bytes, int] | None:
        """What the request answered, and the revision of its change; None when it has not happened."""
        if not identity:
            return None
        if len(identity) > LONGEST_ID or "/" in identity:
            raise ValueError(f"request_id: at most {LONGEST_ID} characters, without /")
        entry, _ = await self.store.get(keys.request(identity))
        return (entry.value, entry.modified) if entry else None

    async def remember(self, identity: str, answer: bytes) -> tuple[list[port.Guard], list[codec.Edit]]:
        """To be added to the request's transaction."""
        if not identity:
            return [], []
        key = keys.request(identity)
        return [port.Absent(key)], [codec.Mark(key, answer, await self._current_lease())]

    def forget_lease(self) -> None:
        """The store says that the lease has ended: the next request gets another."""
        self._granted_at = float("-inf")

    async def _current_lease(self) -> int:
        if self.clock.steady() - self._granted_at > LEASE_SECONDS / 2:
            self._lease = (await self.store.grant(LEASE_SECONDS)).id
            self._granted_at = self.clock.steady()
        return self._lease
