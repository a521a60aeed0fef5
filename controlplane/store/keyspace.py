"""The memory store's data: keys, revisions, history and leases, all in plain dicts.

One keyspace stands for one etcd cluster; any number of `memory.MemoryStore` clients share it.
"""

import bisect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from controlplane.store import port, timers


@dataclass(slots=True)
class _Lease:
    ttl_seconds: float
    deadline: float
    timer: timers.Timer
    keys: set[str] = field(default_factory=set)


class Keyspace:
    """Everything is synchronous: a call is one instant, as a transaction is."""

    def __init__(self, clock: timers.Timers) -> None:
        self._clock = clock
        self.revision = 1
        self.compacted = 0
        self._entries: dict[str, port.Entry] = {}
        self._history: list[port.Batch] = []
        self._leases: dict[int, _Lease] = {}
        self._lease_ids = itertools.count(1001)
        self._listeners: set[Callable[[], None]] = set()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────

    def get(self, key: str) -> port.Entry | None:
        """The key now."""
        return self._entries.get(key)

    def under(self, prefix: str) -> list[port.Entry]:
        """All keys with the prefix, in order."""
        return [self._entries[key] for key in sorted(self._entries) if key.startswith(prefix)]

    def history(self, start: int) -> Sequence[port.Batch]:
        """One batch per revision from `start` on; raises Compacted when that is no longer known."""
        if start < self.compacted:
            raise port.Compacted(self.compacted)
        return self._history[bisect.bisect_left(self._history, start, key=lambda batch: batch.revision) :]

    def listen(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back after every new revision and compaction; returns how to stop that."""
        self._listeners.add(changed)
        return lambda: self._listeners.discard(changed)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────

    def commit(self, guards: Sequence[port.Guard], writes: Sequence[port.Write]) -> int:
        """As `port.Store.commit`."""
        port.check_size(guards, writes)
        for guard in guards:
            if not port.holds(guard, self._entries.get(guard.key)):
                raise port.Conflict(guard)
        for write in writes:
            if isinstance(write, port.Put) and write.lease and write.lease not in self._leases:
                raise port.LeaseLost(f"lease {write.lease:x} of {write.key} has ended")
        self._apply(writes)
        return self.revision

    def compact(self, revision: int | None = None) -> None:
        """Forget history before the revision (the newest, when none is given)."""
        self.compacted = self.revision if revision is None else revision
        self._history = [batch for batch in self._history if batch.revision >= self.compacted]
        self._notify()

    # ── leases ───────────────────────────────────────────────────────────────────────────────────────────

    def grant(self, ttl_seconds: float) -> port.Grant:
        """A new lease."""
        lease = next(self._lease_ids)
        deadline = self._clock.time() + ttl_seconds
        timer = self._clock.call_at(deadline, lambda: self._expire(lease))
        self._leases[lease] = _Lease(ttl_seconds, deadline, timer)
        return port.Grant(lease, ttl_seconds)

    def keepalive(self, lease: int) -> float:
        """Start the lease's time anew."""
        held = self._leases.get(lease)
        if held is None:
            raise port.LeaseLost(f"lease {lease:x} has ended")
        held.deadline = self._clock.time() + held.ttl_seconds
        return held.ttl_seconds

    def revoke(self, lease: int) -> None:
        """End the lease; its keys go with it, all at one revision."""
        held = self._leases.pop(lease, None)
        if held is not None:
            held.timer.cancel()
            self._apply([port.Delete(key) for key in sorted(held.keys)])

    def _expire(self, lease: int) -> None:
        held = self._leases.get(lease)
        if held is None:
            return
        if self._clock.time() >= held.deadline:
            self.revoke(lease)
        else:
            held.timer = self._clock.call_at(held.deadline, lambda: self._expire(lease))

    # ── one revision ─────────────────────────────────────────────────────────────────────────────────────

    def _apply(self, writes: Sequence[port.Write]) -> None:
        revision = self.revision + 1
        events = [event for write in writes if (event := self._write(write, revision)) is not None]
        if events:
            self.revision = revision
            self._history.append(port.Batch(revision, tuple(events)))
            self._notify()

    def _write(self, write: port.Write, revision: int) -> port.Event | None:
        old = self._entries.get(write.key)
        if old is not None and old.lease in self._leases:
            self._leases[old.lease].keys.discard(write.key)
        if isinstance(write, port.Delete):
            if old is None:
                return None
            del self._entries[write.key]
            return port.Removed(write.key, revision)
        entry = port.Entry(
            key=write.key,
            value=write.value,
            created=old.created if old else revision,
            modified=revision,
            version=old.version + 1 if old else 1,
            lease=write.lease,
        )
        self._entries[write.key] = entry
        if write.lease:
            self._leases[write.lease].keys.add(write.key)
        return port.Changed(entry)

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()
