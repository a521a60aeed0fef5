"""What a store can do, and the values that cross the line.

Keys are text, values are bytes; what they mean is nobody's business here. Two implementations keep this
contract: `memory` and `etcd`. One suite (`tests/contracts/test_store.py`) holds both to it.

A *revision* numbers the states of the whole store: every commit that changes anything makes the next one.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

MAX_OPERATIONS_PER_COMMIT = 128
"""etcd's own default (`--max-txn-ops`); it bounds the guards and the writes, each for itself."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it was at some revision."""

    key: str
    value: bytes
    created: int
    """Revision at which the key came to be; it changes when the key is deleted and made again."""
    modified: int
    """Revision of the last write."""
    version: int
    """Writes since it was created, counting from 1."""
    lease: int = 0
    """The lease the key dies with; 0 is none."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys under a prefix, in key order, as they were together at one revision."""

    entries: tuple[Entry, ...]
    revision: int


# ── guards: what must still be true for a commit to count ────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Absent:
    """The key does not exist."""

    key: str


@dataclass(frozen=True, slots=True)
class Present:
    """The key exists, whatever it holds."""

    key: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The key was last written at this revision."""

    key: str
    modified: int


@dataclass(frozen=True, slots=True)
class CreatedAt:
    """The key is still the one created at this revision: how a leader proves that it leads."""

    key: str
    created: int


Guard = Absent | Present | Unchanged | CreatedAt


def as_seen(key: str, modified: int | None) -> Guard:
    """The key is as somebody saw it: last written at this revision, or not there."""
    return Unchanged(key, modified) if modified else Absent(key)


# ── writes ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Put:
    """Write the value; with a lease, the key is deleted when the lease ends."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the key; removing what is not there changes nothing."""

    key: str


Write = Put | Delete


# ── watch ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Changed:
    """A key was written."""

    entry: Entry

    @property
    def key(self) -> str:
        """The key that was written."""
        return self.entry.key

    @property
    def modified(self) -> int:
        """Revision of the write."""
        return self.entry.modified


@dataclass(frozen=True, slots=True)
class Removed:
    """A key was deleted, or died with its lease, at this revision."""

    key: str
    modified: int


Event = Changed | Removed


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that happened under the prefix up to `revision`; without events it is progress: nothing did.

    Events are in revision order, and a revision is never split over two batches.
    """

    revision: int
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as it was granted; it ends when nobody keeps it alive for `ttl_seconds`."""

    id: int
    ttl_seconds: float


# ── what can go wrong ────────────────────────────────────────────────────────────────────────────────────


class StoreError(Exception):
    """Anything a store says other than an answer."""


class Conflict(StoreError):
    """A guard did not hold, nothing was written: look again and decide anew."""

    def __init__(self, failed: Guard | None) -> None:
        self.failed = failed
        """The first guard that did not hold; None when it held again by the time it was looked up."""
        super().__init__(
            f"nothing was written: {failed} no longer holds" if failed else "nothing was written"
        )


class Unavailable(StoreError):
    """The store cannot be reached or has no leader; nothing was written. Try again."""


class OutcomeUnknown(StoreError):
    """The answer to a commit was lost: it may have been applied, or may yet be. Re-read, never repeat."""


class TooLarge(StoreError):
    """The commit is larger than one transaction may be; nothing was written."""


class Refused(StoreError):
    """The store says no: credentials, permissions, disk quota, an unfit version. Nothing was written."""


class LeaseLost(StoreError):
    """The lease has ended, and every key that hung on it is gone."""


class Compacted(StoreError):
    """The wanted history is gone (`at` is the oldest revision left): list again and watch from there."""

    def __init__(self, at: int, reason: str = "") -> None:
        self.at = at
        super().__init__(reason or f"history before revision {at} was compacted away: list again")


class Store(Protocol):
    """A versioned map with guarded commits, watches and leases."""

    async def list(self, prefix: str, *, values: bool = True) -> Listing:
        """Every key under the prefix at one revision; cheap without values. Raises Unavailable, Refused."""

    async def get(self, key: str) -> tuple[Entry | None, int]:
        """The key as of now (never an older state) and that now's revision. Raises Unavailable, Refused."""

    async def commit(self, guards: Sequence[Guard], writes: Sequence[Write]) -> int:
        """Apply all writes if all guards hold, else none; returns the revision at which that happened.

        Raises Conflict, Unavailable, OutcomeUnknown, TooLarge, Refused, LeaseLost (a Put names a dead lease),
        and ValueError when one key is written twice.
        """

    def watch(self, prefix: str, start: int) -> AsyncIterator[Batch]:
        """What happens under the prefix from revision `start` on, without end.

        Broken connections are mended inside; nothing is missed or repeated. Raises Compacted, Refused.
        """

    async def grant(self, ttl_seconds: float) -> Grant:
        """A new lease of at least this time. Raises Unavailable, Refused."""

    async def keepalive(self, lease: int) -> float:
        """Start the lease's time anew; returns it in seconds. Raises LeaseLost, Unavailable."""

    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys; a lease already gone is fine. Raises Unavailable."""

    async def close(self) -> None:
        """End watches and connections."""


def holds(guard: Guard, entry: Entry | None) -> bool:
    """Whether the guard is true of its key as it is now."""
    match guard:
        case Absent():
            return entry is None
        case Present():
            return entry is not None
        case Unchanged(modified=modified):
            return entry is not None and entry.modified == modified
        case CreatedAt(created=created):
            return entry is not None and entry.created == created
        case _:
            assert_never(guard)


def check_size(guards: Sequence[Guard], writes: Sequence[Write]) -> None:
    """Raise TooLarge or ValueError when this cannot be one commit; the same words for every store."""
    if max(len(guards), len(writes)) > MAX_OPERATIONS_PER_COMMIT:
        raise TooLarge(
            f"a commit holds at most {MAX_OPERATIONS_PER_COMMIT} guards and as many writes; this one has "
            f"{len(guards)} and {len(writes)}: make it a sequence"
        )
    written: set[str] = set()
    for write in writes:
        if write.key in written:
            raise ValueError(f"{write.key} is written twice in one commit")
        written.add(write.key)
