"""Connections that the kernel remembers: UDP flows that lead to nobody any more are forgotten (pure).

A flow keeps its endpoint as long as its packets come, whatever the maps say by now. TCP ends its connections itself;
UDP knows none, so that a client that goes on from the same port would send to a dead endpoint for ever.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.network.services.groups import Element, Form, Group, Key, Value
from agent.network.services.messages import attribute, attributes, nest, request

_SUBSYSTEM = 1
_GET, _DELETE = 1, 2
_AF_INET, _UDP = 2, 17
_ORIGINAL, _REPLY, _ID, _FILTER = 1, 2, 12, 25
_BY_SOURCE, _BY_PROTOCOL, _BY_PORT = 1 << 0, 1 << 3, 1 << 5
_AT_BYTES = 12
_SINGLY = 8
"""So many questions with an exact filter cost less than looking at every UDP flow here."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Whom a client asked, and who answers it."""

    asked: bytes
    port: bytes
    answering: bytes
    naming: bytes
    """By which the kernel knows it."""


@dataclass(frozen=True, slots=True)
class Stale:
    """What makes a flow one that leads wrong."""

    lost: frozenset[tuple[Key, bytes]] = frozenset()
    """The endpoint is not behind that any more."""
    opened: frozenset[Key] = frozenset()
    """Until now nobody was behind that, and the node itself was sent what came."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.opened)

    def has(self, flow: Flow) -> bool:
        """Whether it is to be forgotten."""
        keys = _keys(flow)
        if flow.answering == flow.asked:
            return any(key in self.opened for key in keys)
        return any((key, flow.answering) in self.lost for key in keys)


def stale(changes: Iterable[tuple[Key, tuple[Group | None, Group | None]]]) -> Stale:
    """What a change of groups makes stale."""
    lost: set[tuple[Key, bytes]] = set()
    opened: set[Key] = set()
    for key, (before, after) in changes:
        if not any(each and each.has_udp for each in (before, after)):
            continue
        had = {seat[:4] for seat in before.seats} if before else set()
        has = {seat[:4] for seat in after.seats} if after else set()
        lost.update((key, each) for each in had - has)
        if has and not had and key.form is not Form.VIRTUAL:
            opened.add(key)
    return Stale(frozenset(lost), frozenset(opened))


def of_doors(
    before: Mapping[Element, Value], after: Mapping[Element, Value]
) -> Iterator[tuple[Key, tuple[Group | None, Group | None]]]:
    """The doors of tasks as groups of one."""
    for each in before.keys() | after.keys():
        had, has = before.get(each), after.get(each)
        if had != has:
            form = Form.AT if len(each[1]) == _AT_BYTES else Form.ANY
            yield Key(form, each[1]), (_alone(each[1], had), _alone(each[1], has))


def _alone(key: bytes, seat: Value | None) -> Group | None:
    return Group((seat,), has_udp=key[-8] == _UDP) if isinstance(seat, bytes) else None


def is_astray(client: bytes, endpoint: bytes, wanted: Mapping[Key, Group]) -> bool:
    """Whether the key and the value of a remembered client lead to an endpoint that is not behind it any more."""
    asked, door = client[4:8], client[8:16]
    for key in (Key(Form.AT, asked + door), Key(Form.VIRTUAL, asked), Key(Form.ANY, door)):
        if key in wanted:
            seat = endpoint[:4] if key.form is Form.VIRTUAL else endpoint
            return seat not in wanted[key].seats
    return True


def questions(stale: Stale) -> Iterator[bytes]:
    """For the flows among which the stale ones are."""
    endpoints = {address for _, address in stale.lost}
    ports = {key.fields[-4:-2] for key in stale.opened if key.fields[-8] == _UDP}
    if len(endpoints) + len(ports) > _SINGLY:
        yield _question(nest(_ORIGINAL, _tuple()), original=_BY_PROTOCOL)
        return
    for address in sorted(endpoints):
        yield _question(nest(_REPLY, _tuple(source=address)), reply=_BY_SOURCE | _BY_PROTOCOL)
    for port in sorted(ports):
        yield _question(nest(_ORIGINAL, _tuple(port=port)), original=_BY_PROTOCOL | _BY_PORT)


def read(body: bytes) -> Flow | None:
    """Of one answer; None where it is no UDP flow."""
    found = attributes(body[4:])
    if _ORIGINAL not in found or _REPLY not in found:
        return None
    original, reply = attributes(found[_ORIGINAL]), attributes(found[_REPLY])
    proto = attributes(original[2])
    if proto.get(1) != bytes((_UDP,)):
        return None
    naming = nest(_ORIGINAL, found[_ORIGINAL]) + (attribute(_ID, found[_ID]) if _ID in found else b"")
    return Flow(attributes(original[1])[2], proto[3], attributes(reply[1])[1], naming)


def forget(flow: Flow) -> bytes:
    """The message for it."""
    return request(_SUBSYSTEM << 8 | _DELETE, flow.naming, acknowledged=True)


def _keys(flow: Flow) -> tuple[Key, ...]:
    door = bytes((_UDP, 0, 0, 0)) + flow.port + b"\0\0"
    return Key(Form.VIRTUAL, flow.asked), Key(Form.AT, flow.asked + door), Key(Form.ANY, door)


def _tuple(source: bytes = b"", port: bytes = b"") -> bytes:
    proto = attribute(1, bytes((_UDP,))) + (attribute(3, port) if port else b"")
    return (nest(1, attribute(1, source)) if source else b"") + nest(2, proto)


def _question(tuples: bytes, original: int = 0, reply: int = 0) -> bytes:
    """A kernel before 5.8 does not know the filter and tells of all flows: each is looked at here too."""
    filters = attribute(1, struct.pack("=I", original)) + attribute(2, struct.pack("=I", reply))
    return request(_SUBSYSTEM << 8 | _GET, tuples + nest(_FILTER, filters), dumped=True)
