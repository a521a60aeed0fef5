"""A group: the endpoints that one address, or one port, leads to, and the elements of maps that say so.

A rule cannot divide by a number that it looks up, so there is a chain for each *number* of endpoints, not for each
service: a verdict map leads an address to the chain of its number, which draws a seat and looks up who sits there.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """What a packet is recognised by. The word is the name of the verdict map."""

    VIRTUAL = "virtual"
    """Its destination: a virtual address, every port of it."""
    AT = "doors_at"
    """Destination, protocol and port: a port of a virtual address that has another number inside, or a published
    port of one address of the node."""
    ANY = "doors"
    """Protocol and port: a published port of every address of the node."""


@dataclass(frozen=True, slots=True)
class Key:
    """What leads to a group: the fields of its form, each filled up to four bytes."""

    form: Form
    fields: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """Who is behind it. A seat is an address, and for doors a port too, each filled up to four bytes."""

    seats: tuple[bytes, ...]
    affinity_seconds: int = 0
    """Clients come back to their endpoint for so long; 0 is never."""
    has_udp: bool = True
    """Somebody may send it UDP: to look for flows costs 10 ms, which others save."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Draws one of `seats` for a packet of that form."""

    form: Form
    seats: int
    sticky: bool = False
    """Clients that are remembered draw no more."""

    @property
    def name(self) -> str:
        """As it stands in the kernel: doors-3, or doors-3-sticky."""
        return f"{self.form}-{self.seats}{'-sticky' if self.sticky else ''}"


@dataclass(frozen=True, slots=True)
class Memory:
    """Remembers for so long who was led where."""

    seconds: int

    @property
    def name(self) -> str:
        """As it stands in the kernel."""
        return f"remember-{self.seconds}s"


CLOSED = "closed"
"""The chain of ports that nobody serves though others of their address are served."""


def ends(form: Form) -> str:
    """The map of a form's seats."""
    return f"{form}_ends"


def memory(form: Form) -> str:
    """The verdict map of those whose clients are remembered."""
    return f"{form}_memory"


BYTEORDER = sys.byteorder
"""Of the numbers that the kernel draws."""
Element = tuple[str, bytes]
"""The map and the key in it."""
Value = bytes | str
"""What an element leads to: data, or the chain of that name."""


def chains_of(key: Key, group: Group) -> tuple[Chain | Memory, ...]:
    """None where nobody is there."""
    if not group.seats:
        return ()
    draw = Chain(key.form, len(group.seats), group.affinity_seconds > 0)
    return (draw, Memory(group.affinity_seconds)) if group.affinity_seconds else (draw,)


def elements(key: Key, group: Group) -> Iterator[tuple[Element, Value]]:
    """All that the kernel must hold for it: data, or the name of a chain."""
    chains = chains_of(key, group)
    if not chains:
        if key.form is Form.AT:
            yield (key.form, key.fields), CLOSED
        return
    yield (key.form, key.fields), chains[0].name
    for number, seat in enumerate(group.seats):
        yield (ends(key.form), key.fields + number.to_bytes(4, BYTEORDER)), seat
    for remembering in chains[1:]:
        yield (memory(key.form), key.fields), remembering.name


def seated(before: Sequence[bytes], wanted: Iterable[bytes]) -> tuple[bytes, ...]:
    """Who stays keeps the seat where that can be; the new take free ones, else those from the end move up."""
    left = set(wanted)
    seats: list[bytes | None] = [each if each in left else None for each in before]
    fresh = sorted(left.difference(before))
    free = [place for place, each in enumerate(seats) if each is None]
    while free and fresh:
        seats[free.pop(0)] = fresh.pop(0)
    while free:
        last = seats.pop()
        if last is None:
            free.pop()
        else:
            seats[free.pop(0)] = last
    return (*(each for each in seats if each is not None), *fresh)
