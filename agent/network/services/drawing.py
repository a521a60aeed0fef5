"""The rules of the chains that draw an endpoint, and of those that remember who drew it (pure).

In the kernel's own form, so that a chain is made in the transaction that needs it. nft must be able to show them:
nft 1.0.6 aborts where one look-up uses what another found, or where a map learns what a look-up found.
Registers are 4 bytes each; a look-up takes its key from neighbouring registers and puts what it finds into others.
"""

import struct
from collections.abc import Iterator

from agent.network.services import messages
from agent.network.services.groups import Chain, Form, Memory, ends, memory
from agent.network.services.messages import attribute, nest, text, word

CLIENTS = "clients"
"""Who stays where: client, address, protocol and port that it asked → the endpoint and its port, for a while."""

_KEY, _FOUND = 8, 16
"""The first of the registers of a key, and of what is found or to be remembered."""
_SOURCE, _DESTINATION = 12, 16
_ASKED_ADDRESS, _ASKED_PORT = 20, 12
_FIELDS = {Form.VIRTUAL: 1, Form.AT: 3, Form.ANY: 2}


def chain(table: str, made: Chain | Memory) -> Iterator[bytes]:
    """The messages that make it."""
    yield messages.new_chain(table, made.name)
    match made:
        case Chain(sticky=True):
            yield messages.new_rule(table, made.name, [*_where_it_was(), *_go(Form.AT)])
            yield messages.new_rule(table, made.name, [*_draw(made), *_go(made.form)])
        case Chain():
            yield messages.new_rule(table, made.name, [*_draw(made), *_go(made.form)])
        case Memory():
            yield messages.new_rule(table, made.name, list(_remember(made.seconds)))


def remembering(table: str) -> Iterator[bytes]:
    """The rules that lead new connections to a memory; nft cannot read `ct original proto-dst` in a key."""
    for form in Form:
        fields = []
        if form is not Form.ANY:
            fields.append(_asked(_ASKED_ADDRESS, _KEY))
        if form is not Form.VIRTUAL:
            port = _KEY + _FIELDS[form] - 1
            fields += [_protocol(port - 1), _asked(_ASKED_PORT, port)]
        yield messages.new_rule(table, "remembering", [*fields, _lookup(memory(form), 0)])


def _draw(made: Chain) -> Iterator[bytes]:
    """As nft says it: dnat to FIELDS . numgen random mod SEATS map @ENDS."""
    if made.form is not Form.ANY:
        yield _payload(_DESTINATION, 4, _KEY)
    if made.form is not Form.VIRTUAL:
        port = _KEY + _FIELDS[made.form] - 1
        yield _protocol(port - 1)
        yield _port(port)
    number = _KEY + _FIELDS[made.form]
    yield _expression("numgen", word(1, number) + word(2, made.seats) + word(3, 1) + word(4, 0))
    yield _lookup(ends(made.form), _FOUND)


def _where_it_was() -> Iterator[bytes]:
    """As nft says it: dnat ip to ip saddr . ip daddr . meta l4proto . th dport map @clients."""
    yield _payload(_SOURCE, 4, _KEY)
    yield _payload(_DESTINATION, 4, _KEY + 1)
    yield _protocol(_KEY + 2)
    yield _port(_KEY + 3)
    yield _lookup(CLIENTS, _FOUND)


def _remember(seconds: int) -> Iterator[bytes]:
    """Behind the translation: the destination is the endpoint by now.

    update @clients { ip saddr . ct original ip daddr . meta l4proto . ct original proto-dst : ip daddr . th dport }
    """
    yield _payload(_SOURCE, 4, _KEY)
    yield _asked(_ASKED_ADDRESS, _KEY + 1)
    yield _protocol(_KEY + 2)
    yield _asked(_ASKED_PORT, _KEY + 3)
    yield _payload(_DESTINATION, 4, _FOUND)
    yield _port(_FOUND + 1)
    body = text(1, CLIENTS) + word(3, 1) + word(4, _KEY) + word(5, _FOUND)
    yield _expression("dynset", body + attribute(6, struct.pack(">Q", seconds * 1000)))


def _go(form: Form) -> Iterator[bytes]:
    """To the address in the seat, and to its port where it has one."""
    body = word(1, 1) + word(2, 2) + word(3, _FOUND)
    yield _expression("nat", body if form is Form.VIRTUAL else body + word(5, _FOUND + 1))


def _payload(offset: int, length: int, register: int, base: int = 1) -> bytes:
    return _expression("payload", word(1, register) + word(2, base) + word(3, offset) + word(4, length))


def _port(register: int) -> bytes:
    return _payload(2, 2, register, base=2)


def _protocol(register: int) -> bytes:
    return _expression("meta", word(1, register) + word(2, 16))


def _asked(what: int, register: int) -> bytes:
    return _expression("ct", word(1, register) + word(2, what) + attribute(3, b"\0"))


def _lookup(map_name: str, found: int) -> bytes:
    return _expression("lookup", text(1, map_name) + word(2, _KEY) + word(3, found))


def _expression(name: str, body: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, body))
