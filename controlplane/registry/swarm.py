"""Who gets a blob from whom, so that the control plane sends each only a few times however many nodes want it (pure).

The first few get it from us; whoever asks then is sent to a node that has it or is just getting it, which gives on what
it has so far. So a tree grows, two branches from each node: nobody sends much, and the last of fifty is five steps from
us. Nobody reports anything: a node that cannot give is named by the one that was sent there, and is forgotten.
"""

from collections.abc import Collection
from dataclasses import dataclass

ROOTS = 2
"""So many nodes get a blob from us: a single slow one would hold up all others."""
BRANCHES = 2
"""So many a node gives it to."""
REMEMBERED_SECONDS = 600.0
"""Nodes keep blobs for longer than that (agent.images.sharing); then the next asks us again."""
MOST_BLOBS = 1000


@dataclass(frozen=True, slots=True)
class Peer:
    """A node, and where it gives blobs to others."""

    name: str
    address: str
    """host:port."""


@dataclass(frozen=True, slots=True)
class _Member:
    peer: Peer
    source: str
    """The node that it was sent to; empty for ourselves."""
    at: float


class Swarm:
    """Remembers who was sent where. Times are seconds of one clock, given with each question."""

    def __init__(self) -> None:
        self._blobs: dict[str, dict[str, _Member]] = {}

    def source(
        self, digest: str, asks: Peer, now: float, *, failed: Collection[str] = (), direct: bool = False
    ) -> Peer | None:
        """Where this node is to get the blob; None: from us.

        A node that failed the one that was sent there is asked by nobody any more, for no blob, until it asks itself.
        """
        members = self._current(digest, now)
        before = members.get(asks.name)
        if before and before.source and before.source in failed:
            for others in self._blobs.values():
                others.pop(before.source, None)
        found = None if direct else _choose(members, asks.name)
        members[asks.name] = _Member(asks, found.name if found else "", now)
        return found

    def _current(self, digest: str, now: float) -> dict[str, _Member]:
        members = {
            name: member
            for name, member in self._blobs.pop(digest, {}).items()
            if now - member.at < REMEMBERED_SECONDS
        }
        while len(self._blobs) >= MOST_BLOBS:
            del self._blobs[next(iter(self._blobs))]  # the one that nobody has asked for for the longest time
        self._blobs[digest] = members
        return members


def _choose(members: dict[str, _Member], asks: str) -> Peer | None:
    roots = sum(not member.source and name != asks for name, member in members.items())
    if roots < ROOTS:
        return None
    branches = dict.fromkeys(members, 0)
    for name, member in members.items():
        if name != asks and member.source in branches:
            branches[member.source] += 1
    able = [
        (depth, branches[name], members[name].at, name)
        for name in members
        if (depth := _depth(members, name, asks)) is not None and branches[name] < BRANCHES
    ]
    return members[min(able)[3]].peer if able else None


def _depth(members: dict[str, _Member], name: str, asks: str) -> int | None:
    """Steps from us; None where the way leads through the node that asks: each would wait for the other."""
    for depth in range(len(members) + 1):
        if name == asks:
            return None
        member = members.get(name)
        if member is None or not member.source:
            return depth
        name = member.source
    return None
