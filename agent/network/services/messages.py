"""The kernel's nf_tables messages as bytes, as far as elements and generated chains need them (pure).

A transaction of nft's own language costs 15 to 20 ms in its start and its parser; the same elements in the
kernel's own form a fraction of a millisecond. linux/netfilter/nf_tables.h has the numbers.
"""

import functools
import struct
from collections.abc import Iterable, Iterator, Sequence

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_CREATE, NLM_F_APPEND = 0x400, 0x800
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE = 0
_NEW_CHAIN, _GET_CHAIN, _DEL_CHAIN, _NEW_RULE = 3, 4, 5, 6
_NEW_ELEMENT, _GET_ELEMENT, _DEL_ELEMENT = 12, 13, 14
_GET_GENERATION = 16
_AF_UNSPEC, _AF_INET = 0, 2
_NESTED = 0x8000
GOTO, JUMP = -4, -3

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
ELEMENTS_PER_MESSAGE = 500
"""The list of a message must fit 64 KiB."""


def attribute(kind: int, data: bytes) -> bytes:
    """Filled up to four bytes."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + bytes(-len(data) % 4)


def nest(kind: int, *parts: bytes) -> bytes:
    """Attributes in an attribute."""
    return attribute(kind | _NESTED, b"".join(parts))


def attributes(data: bytes) -> dict[int, bytes]:
    """By kind, the last one of each."""
    return dict(listed(data))


def listed(data: bytes) -> Iterator[tuple[int, bytes]]:
    """In the order in which they stand."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def word(kind: int, value: int) -> bytes:
    """A number of four bytes."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def text(kind: int, value: str | bytes) -> bytes:
    """Ended by a zero."""
    return attribute(kind, (value.encode() if isinstance(value, str) else value) + b"\0")


def transaction(messages: Sequence[bytes]) -> tuple[bytes, int]:
    """All or nothing, in one send; and the sequence number that the kernel answers when it is done."""
    begin = _message(_BATCH_BEGIN, struct.pack(">BBH", _AF_UNSPEC, 0, _SUBSYSTEM), NLM_F_REQUEST, 1)
    out = [begin]
    for number, message in enumerate(messages, 2):
        out.append(message[:8] + struct.pack("=I", number) + message[12:])
    last = len(messages) + 1
    out[-1] = _with_flags(out[-1], NLM_F_ACK)
    out.append(_message(_BATCH_END, struct.pack(">BBH", _AF_UNSPEC, 0, _SUBSYSTEM), NLM_F_REQUEST, last + 1))
    return b"".join(out), last


def request(kind: int, body: bytes, *, dumped: bool = False, acknowledged: bool = False) -> bytes:
    """Of any netfilter subsystem, about IPv4, in no transaction."""
    flags = NLM_F_DUMP * dumped | NLM_F_ACK * acknowledged
    return _message(kind, struct.pack("BBH", _AF_INET, 0, 0) + body, NLM_F_REQUEST | flags, 0)


def new_elements(
    table: str, map_name: str, elements: Iterable[tuple[bytes, bytes | str]], verdict: int = GOTO
) -> Iterator[bytes]:
    """Of one map; text is the name of a chain, and the verdict how it is gone to."""
    packed = (_element(key, value, verdict) for key, value in elements)
    return _element_messages(_NEW_ELEMENT, NLM_F_CREATE, table, map_name, packed)


def lost_elements(table: str, map_name: str, keys: Iterable[bytes]) -> Iterator[bytes]:
    """Of one map; each must be there."""
    return _element_messages(_DEL_ELEMENT, 0, table, map_name, (_element(key, b"") for key in keys))


def passing_elements(table: str, set_name: str, keys: Iterable[bytes], seconds: int) -> Iterator[bytes]:
    """Of a set; they go by themselves."""
    timeout = attribute(4, struct.pack(">Q", seconds * 1000))
    packed = (nest(1, nest(1, attribute(1, key)), timeout) for key in keys)
    return _element_messages(_NEW_ELEMENT, NLM_F_CREATE, table, set_name, packed)


def of_family(message: bytes, family: int) -> bytes:
    """The same message for a table of another family than IPv4."""
    return message[:16] + bytes((family,)) + message[17:]


def table(name: str, *, dormant: bool) -> bytes:
    """Whether the kernel asks its chains; the table is there."""
    return _nf_message(_NEW_TABLE, 0, text(1, name) + word(2, int(dormant)))


def new_chain(table: str, name: str) -> bytes:
    """Empty, and reached only by verdicts."""
    return _nf_message(_NEW_CHAIN, NLM_F_CREATE, text(1, table) + text(3, name))


def lost_chain(table: str, name: str) -> bytes:
    """With its rules; nothing may lead to it any more."""
    return _nf_message(_DEL_CHAIN, 0, text(1, table) + text(3, name))


def new_rule(table: str, chain: str, expressions: Sequence[bytes]) -> bytes:
    """Behind the rules that the chain has."""
    body = text(1, table) + text(2, chain) + nest(4, *expressions)
    return _nf_message(_NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, body)


def ask_elements(table: str, map_name: str) -> bytes:
    """All of a map."""
    return _nf_message(_GET_ELEMENT, NLM_F_DUMP, text(1, table) + text(2, map_name))


def ask_chains(family: int = _AF_INET) -> bytes:
    """All of a family, whosever they are; 0 is every family."""
    return _nf_message(_GET_CHAIN, NLM_F_DUMP, b"", family)


def ask_generation() -> bytes:
    """Counts every change of the packet filter, whosever it is."""
    return _nf_message(_GET_GENERATION, 0, b"")


def read_generation(body: bytes) -> int:
    """Of the answer to `ask_generation`."""
    return int.from_bytes(attributes(body[4:])[1], "big")


def read_elements(body: bytes) -> Iterator[tuple[bytes, bytes | str]]:
    """Of one answer to `ask_elements`: the key, and data or the name of a chain."""
    for _, element in listed(attributes(body[4:]).get(3, b"")):
        found = attributes(element)
        value = attributes(found.get(2, b""))
        chain = attributes(value[2]).get(2, b"\0") if 2 in value else None
        key = attributes(found[1])[1]
        yield key, chain[:-1].decode() if chain is not None else value.get(1, b"")


def _element(key: bytes, value: bytes | str, verdict: int = GOTO) -> bytes:
    if isinstance(value, str):
        before, behind, _ = _frame(len(key), value, verdict)
        return before + key + behind
    before, between, behind = _frame(len(key), len(value), verdict)
    return before + key + between + value + behind


@functools.lru_cache(maxsize=4096)
def _frame(key_bytes: int, value: int | str, verdict: int) -> tuple[bytes, bytes, bytes]:
    """What stands before, between and behind key and data: of a hundred thousand elements it is the same few."""
    data = b""
    if isinstance(value, str):
        data = nest(2, nest(2, word(1, verdict), text(2, value)))
    elif value:
        data = nest(2, attribute(1, bytes(value)))
    whole = nest(1, nest(1, attribute(1, bytes(key_bytes))), data)
    begin = 3 * _ATTRIBUTE.size
    end = len(whole) if isinstance(value, str) else len(whole) - value - -value % 4
    tail = b"" if isinstance(value, str) else bytes(-value % 4)
    return whole[:begin], whole[begin + key_bytes : end], tail


def _element_messages(
    kind: int, flags: int, table: str, map_name: str, packed: Iterable[bytes]
) -> Iterator[bytes]:
    head = text(1, table) + text(2, map_name)
    several: list[bytes] = []
    for element in packed:
        several.append(element)
        if len(several) == ELEMENTS_PER_MESSAGE:
            yield _nf_message(kind, flags, head + nest(3, *several))
            several = []
    if several:
        yield _nf_message(kind, flags, head + nest(3, *several))


def _nf_message(kind: int, flags: int, body: bytes, family: int = _AF_INET) -> bytes:
    return _message(_SUBSYSTEM << 8 | kind, struct.pack("BBH", family, 0, 0) + body, NLM_F_REQUEST | flags, 0)


def _message(kind: int, body: bytes, flags: int, sequence: int) -> bytes:
    return _HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


def _with_flags(message: bytes, flags: int) -> bytes:
    had = struct.unpack_from("=H", message, 6)[0]
    return message[:6] + struct.pack("=H", had | flags) + message[8:]


def read_chain(body: bytes) -> tuple[str, str]:
    """Of one answer to `ask_chains`: its table and its name."""
    found = attributes(body[4:])
    return found[1][:-1].decode(), found[3][:-1].decode()
