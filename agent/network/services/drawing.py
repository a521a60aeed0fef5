"""The rules of the chains that draw an endpoint, in the kernel's own form (pure).

nft has no words for a look-up in what another look-up found, which clients that stay with an endpoint need.
Registers are 4 bytes each; a look-up takes its key from neighbouring registers and puts what it finds into others.
"""

import struct
from collections.abc import Iterator

from agent.network.services import messages
from agent.network.services.groups import Chain, Form, ends, owner, present
from agent.network.services.messages import attribute, nest, text, word

CLIENTS = "clients"
"""Who stays where: client and virtual address → endpoint, for a while."""

_CLIENT, _VIRTUAL, _KEY, _SEAT = 8, 9, 12, 18
"""Registers: the key of CLIENTS, the key of a form's maps (up to four), and the seat that was found (two)."""
_SOURCE, _DESTINATION = 12, 16
_UPDATE, _DELETE = 1, 2
_FIELDS = {Form.VIRTUAL: 1, Form.AT: 3, Form.ANY: 2}


def chain(table: str, made: Chain) -> Iterator[bytes]:
    """The messages that make it."""
    yield messages.new_chain(table, made.name)
    for rule in _rules(made):
        yield messages.new_rule(table, made.name, rule)


def _rules(made: Chain) -> Iterator[list[bytes]]:
    draw = [*_fields(made.form), *_draw(made), *_go(made.form)]
    if not made.affinity_seconds:
        yield draw
        return
    remember = [
        *_client(made.form),
        *_draw(made),
        _dynamic(_UPDATE, made.affinity_seconds),
    ]
    again = [
        *_client(made.form),
        _lookup(CLIENTS, _CLIENT, _KEY + _FIELDS[made.form]),
        _lookup(present(made.form), _KEY, _SEAT),
        *_go(made.form),
    ]
    forget = [*_client(made.form), _payload(_DESTINATION, 4, _SEAT), _dynamic(_DELETE)]
    yield remember
    yield again
    yield forget  # it stayed with one that is not ready any more
    yield remember
    yield again
    yield draw  # no room to remember it


def _client(form: Form) -> Iterator[bytes]:
    yield from _fields(form)
    yield _payload(_SOURCE, 4, _CLIENT)
    if form is Form.VIRTUAL:
        yield _payload(_DESTINATION, 4, _VIRTUAL)
    else:
        yield _lookup(owner(form), _KEY, _VIRTUAL)


def _fields(form: Form) -> Iterator[bytes]:
    """What the packet is recognised by, in the registers from _KEY on."""
    match form:
        case Form.VIRTUAL:
            yield _payload(_DESTINATION, 4, _KEY)
        case Form.AT:
            yield _payload(_DESTINATION, 4, _KEY)
            yield _protocol(_KEY + 1)
            yield _port(_KEY + 2)
        case Form.ANY:
            yield _protocol(_KEY)
            yield _port(_KEY + 1)


def _draw(made: Chain) -> Iterator[bytes]:
    number = word(1, _KEY + _FIELDS[made.form]) + word(2, made.seats) + word(3, 1) + word(4, 0)
    yield _expression("numgen", number)
    yield _lookup(ends(made.form), _KEY, _SEAT)


def _go(form: Form) -> Iterator[bytes]:
    """To the address in the seat, and to its port where it has one."""
    body = word(1, 1) + word(2, 2) + word(3, _SEAT)
    if form is not Form.VIRTUAL:
        body += word(5, _SEAT + 1)
    yield _expression("nat", body)


def _payload(offset: int, length: int, register: int, base: int = 1) -> bytes:
    return _expression("payload", word(1, register) + word(2, base) + word(3, offset) + word(4, length))


def _port(register: int) -> bytes:
    return _payload(2, 2, register, base=2)


def _protocol(register: int) -> bytes:
    return _expression("meta", word(1, register) + word(2, 16))


def _lookup(map_name: str, key: int, found: int) -> bytes:
    return _expression("lookup", text(1, map_name) + word(2, key) + word(3, found))


def _dynamic(operation: int, seconds: int = 0) -> bytes:
    body = text(1, CLIENTS) + word(3, operation) + word(4, _CLIENT) + word(5, _SEAT)
    if seconds:
        body += attribute(6, struct.pack(">Q", seconds * 1000))
    return _expression("dynset", body)


def _expression(name: str, body: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, body))
