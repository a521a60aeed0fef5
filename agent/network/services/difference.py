"""From what the kernel holds to what it should hold, as one transaction (pure)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from agent.network.services import drawing, groups, messages
from agent.network.services.groups import Chain, Element, Form, Group, Key, Memory, Value

Change = tuple[Group | None, Group | None]
"""Before and after."""
GONE = "gone"
GONE_SECONDS = 3600
"""TCP gives up long before; connections that were idle may ask later."""
SPARE_CHAINS = 64
"""A number of endpoints that nobody has any more may come back soon: so many chains are kept for it."""


@dataclass(slots=True)
class Difference:
    """Elements that go and elements that come; one that changes does both."""

    lost: set[Element] = field(default_factory=set)
    new: dict[Element, Value] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.lost or self.new)

    def between(self, before: Mapping[Element, Value], after: Mapping[Element, Value]) -> None:
        """Adds what leads from the one to the other."""
        self.lost.update(each for each, value in before.items() if after.get(each) != value)
        self.new.update((each, value) for each, value in after.items() if before.get(each) != value)


@dataclass(slots=True)
class Step:
    """All that one transaction changes."""

    elements: Difference = field(default_factory=Difference)
    missing: Sequence[Chain | Memory] = ()
    spare: Sequence[str] = ()
    gone: frozenset[bytes] = frozenset()
    """Endpoints that have died: who still sends to them is told so."""
    back: frozenset[bytes] = frozenset()
    """Addresses that were gone and have come back."""


def of_groups(changes: Mapping[Key, Change], into: Difference) -> None:
    """Group by group: those that did not change are not looked at."""
    for key, (before, after) in changes.items():
        into.between(
            dict(groups.elements(key, before)) if before else {},
            dict(groups.elements(key, after)) if after else {},
        )


class Chains:
    """The chains that draw: which the kernel has, and how many groups use each."""

    def __init__(self, present: Iterable[str] = ()) -> None:
        """`present`: names of chains in the kernel, whosoever's."""
        self._present = {name for name in present if parsed(name)}
        self._uses: Counter[str] = Counter()

    def change(self, changes: Mapping[Key, Change]) -> list[Chain | Memory]:
        """Counts, and says which are missing."""
        missing: dict[str, Chain | Memory] = {}
        for key, (before, after) in changes.items():
            for old in groups.chains_of(key, before) if before else ():
                self._uses[old.name] -= 1
            for made in groups.chains_of(key, after) if after else ():
                self._uses[made.name] += 1
                if made.name not in self._present:
                    missing[made.name] = made
        self._present.update(missing)
        return list(missing.values())

    def take_spare(self) -> list[str]:
        """Those that may go now; none while they are few."""
        spare = sorted(name for name in self._present if not self._uses[name])
        if len(spare) <= SPARE_CHAINS:
            return []
        self._present.difference_update(spare)
        for name in spare:
            del self._uses[name]
        return spare


def transaction(table: str, step: Step) -> list[bytes]:
    """Chains come before the elements that lead to them, and go after those have gone."""
    out = [message for made in step.missing for message in drawing.chain(table, made)]
    for name, lost in groupby(sorted(step.elements.lost), key=lambda each: each[0]):
        out += messages.lost_elements(table, name, (key for _, key in lost))
    new = step.elements.new
    for name, come in groupby(sorted(new), key=lambda each: each[0]):
        out += messages.new_elements(table, name, ((each[1], new[each]) for each in come))
    out += [messages.lost_chain(table, name) for name in step.spare]
    # who is back may have passed from the set by itself: what is added before is there to be removed
    out += messages.passing_elements(table, GONE, sorted(step.back), GONE_SECONDS)
    out += messages.lost_elements(table, GONE, sorted(step.back))
    out += messages.passing_elements(table, GONE, sorted(step.gone), GONE_SECONDS)
    return out


_DRAWS = re.compile(rf"({'|'.join(Form)})-([0-9]+)(-sticky)?")
_REMEMBERS = re.compile(r"remember-([0-9]+)s")


def parsed(name: str) -> Chain | Memory | None:
    """The chain of that name, if it is one that comes and goes."""
    if found := _DRAWS.fullmatch(name):
        return Chain(Form(found[1]), int(found[2]), sticky=bool(found[3]))
    if found := _REMEMBERS.fullmatch(name):
        return Memory(int(found[1]))
    return None


def groups_in(held: Mapping[Element, Value]) -> dict[Key, Group]:
    """Who sits where, as far as seats are concerned."""
    return dict(_groups_in(held))


def _groups_in(held: Mapping[Element, Value]) -> Iterator[tuple[Key, Group]]:
    for form in Form:
        seats: dict[bytes, dict[bytes, bytes]] = {}
        for (name, key), seat in held.items():
            if name == groups.ends(form) and isinstance(seat, bytes):
                seats.setdefault(key[:-4], {})[key[-4:]] = seat
        for key, numbered in seats.items():
            order = sorted(numbered, key=lambda each: int.from_bytes(each, groups.BYTEORDER))
            yield Key(form, key), Group(tuple(numbered[each] for each in order))
