"""A decision too large for one transaction, as a row of them.

A *group* is what must stay together: the cluster is legal before and after each group, so it is legal after
any number of them. Groups are packed, in order, into as few transactions as hold them, each with the leader's
guard.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controlplane.store import port


@dataclass(frozen=True, slots=True)
class Group:
    """Writes that happen together or not at all, and what must hold for them."""

    guards: tuple[port.Guard, ...]
    writes: tuple[port.Write, ...]


@dataclass(frozen=True, slots=True)
class Transaction:
    """Some groups, as one commit."""

    guards: tuple[port.Guard, ...]
    writes: tuple[port.Write, ...]
    groups: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a sequence came."""

    committed: int
    """So many groups, from the first on, are in the store."""
    revision: int
    """Of the last commit; 0 when there was none."""
    modified: Mapping[str, int] = field(default_factory=dict)
    """Revision at which each key was written."""
    stopped_by: port.StoreError | None = None
    """Why not further: a Conflict, or an answer that was lost and may yet turn out to have counted."""


def pack(groups: Sequence[Group], leader: port.Guard | None) -> Iterator[Transaction]:
    """Raises TooLarge when a single group does not fit, ValueError when two groups write one key."""
    _check_each_key_written_once(groups)
    always = () if leader is None else (leader,)
    guards: dict[port.Guard, None] = dict.fromkeys(always)
    writes: list[port.Write] = []
    count = 0
    for group in groups:
        joined = guards | dict.fromkeys(group.guards)
        if count and max(len(joined), len(writes) + len(group.writes)) > port.MAX_OPERATIONS_PER_COMMIT:
            yield Transaction(tuple(guards), tuple(writes), count)
            joined, writes, count = dict.fromkeys((*always, *group.guards)), [], 0
        guards = joined
        writes.extend(group.writes)
        count += 1
        port.check_size(tuple(guards), writes)
    if count:
        yield Transaction(tuple(guards), tuple(writes), count)


async def commit(store: port.Store, leader: port.Guard | None, groups: Sequence[Group]) -> Outcome:
    """Commit group after group, up to the first that is refused. Raises only what `pack` raises."""
    transactions = tuple(pack(groups, leader))
    outcome = Outcome(committed=0, revision=0)
    for transaction in transactions:
        own = _with_own_commits(transaction, outcome.modified)
        try:
            revision = await store.commit(own.guards, own.writes)
        except port.OutcomeUnknown as lost:
            found = await _find_out(store, own, since=outcome.revision)
            if found is None:
                return replace(outcome, stopped_by=lost)
            revision = found
        except port.StoreError as refusal:
            return replace(outcome, stopped_by=refusal)
        outcome = Outcome(
            committed=outcome.committed + own.groups,
            revision=revision,
            modified={**outcome.modified, **_written(own, revision)},
        )
    return outcome


def applied_at(transaction: Transaction, entries: Mapping[str, port.Entry | None], since: int) -> int | None:
    """The revision at which it was applied, going by what its keys hold now; None when that is not certain.

    It was if every value put is there, all written at one revision newer than any the guards knew, and every
    key deleted is gone. Deletions alone leave no trace to be certain of.
    """
    newest_known = max(
        [since, *(guard.modified for guard in transaction.guards if isinstance(guard, port.Unchanged))]
    )
    revisions: set[int] = set()
    for write in transaction.writes:
        entry = entries.get(write.key)
        match write:
            case port.Put(value=value):
                if entry is None or entry.value != value:
                    return None
                revisions.add(entry.modified)
            case port.Delete():
                if entry is not None:
                    return None
    if len(revisions) != 1 or min(revisions) <= newest_known:
        return None
    return revisions.pop()


async def _find_out(store: port.Store, transaction: Transaction, since: int) -> int | None:
    """Read, never repeat. Not found is not "never": it may yet be applied, so the sequence stops there."""
    try:
        entries = {write.key: (await store.get(write.key))[0] for write in transaction.writes}
    except port.StoreError:
        return None
    return applied_at(transaction, entries, since)


def _with_own_commits(transaction: Transaction, modified: Mapping[str, int]) -> Transaction:
    """Guards decided on before this sequence began, moved to what it has itself written since."""
    if not modified:
        return transaction
    return replace(transaction, guards=tuple(_moved(guard, modified) for guard in transaction.guards))


def _moved(guard: port.Guard, modified: Mapping[str, int]) -> port.Guard:
    if guard.key not in modified or isinstance(guard, port.CreatedAt):
        return guard
    return port.as_seen(guard.key, modified[guard.key])


def _written(transaction: Transaction, revision: int) -> dict[str, int]:
    return {write.key: revision if isinstance(write, port.Put) else 0 for write in transaction.writes}


def _check_each_key_written_once(groups: Sequence[Group]) -> None:
    written: set[str] = set()
    for group in groups:
        for write in group.writes:
            if write.key in written:
                raise ValueError(f"{write.key} is written twice in one decision")
            written.add(write.key)
