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
    virtual_address: bytes = b""
    """Whose clients these are, where clients stay with their endpoint."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Draws one of `seats` for a packet of that form."""

    form: Form
    seats: int
    affinity_seconds: int = 0

    @property
    def name(self) -> str:
        """As it stands in the kernel: doors-3, or doors-3-600s."""
        stay = f"-{self.affinity_seconds}s" if self.affinity_seconds else ""
        return f"{self.form}-{self.seats}{stay}"


CLOSED = "closed"
"""The chain of ports that nobody serves though others of their address are served."""


def ends(form: Form) -> str:
    """The map of a form's seats."""
    return f"{form}_ends"


def present(form: Form) -> str:
    """The map of the endpoints of a form that a client may stay with."""
    return f"{form}_present"


def owner(form: Form) -> str:
    """The map from a door to the virtual address whose clients come through it."""
    return f"{form}_owner"


BYTEORDER = sys.byteorder
"""Of the numbers that the kernel draws."""
Element = tuple[str, bytes]
"""The map and the key in it."""
Value = bytes | str
"""What an element leads to: data, or the chain of that name."""


def chain_of(key: Key, group: Group) -> Chain | None:
    """None where nobody is there."""
    return Chain(key.form, len(group.seats), group.affinity_seconds) if group.seats else None


def elements(key: Key, group: Group) -> Iterator[tuple[Element, Value]]:
    """All that the kernel must hold for it: data, or the name of a chain."""
    chain = chain_of(key, group)
    if chain is None:
        if key.form is Form.AT:
            yield (key.form, key.fields), CLOSED
        return
    yield (key.form, key.fields), chain.name
    for number, seat in enumerate(group.seats):
        yield (ends(key.form), key.fields + number.to_bytes(4, BYTEORDER)), seat
    if group.affinity_seconds:
        for seat in group.seats:
            yield (present(key.form), key.fields + seat[:4]), seat
        if key.form is not Form.VIRTUAL:
            yield (owner(key.form), key.fields), group.virtual_address


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
