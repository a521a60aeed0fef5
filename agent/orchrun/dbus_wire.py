"""D-Bus messages as bytes: as much of the protocol as a talk with systemd needs (pure).

Values are given with their signature, a variant as (signature, value), a struct as a tuple. Little-endian.
"""

from agent.orchrun.errors import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

CALL, REPLY, ERROR, SIGNAL = 1, 2, 3, 4
PREFIX_BYTES = 16
"""Of a message that tell how long it is."""
_BYTES = {"y": 1, "b": 4, "i": 4, "u": 4, "t": 8}
_ALIGNED = {**_BYTES, "s": 4, "o": 4, "a": 4, "g": 1, "v": 1, "(": 8}
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _ANSWERED, _TO, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8


class Message:
    """One that came in; its values are read when somebody asks for them."""

    __slots__ = ("_at", "_data", "_signature", "answered", "error", "interface", "kind", "member")

    def __init__(self, data: bytes) -> None:
        found, end = _take(data, 12, "a(yv)")
        fields: dict[int, Any] = dict(found)
        self._data = data
        self._at = (end + 7) // 8 * 8
        self._signature: str = fields.get(_SIGNATURE, "")
        self.kind = data[1]
        self.member: str = fields.get(_MEMBER, "")
        self.interface: str = fields.get(_INTERFACE, "")
        self.error: str = fields.get(_ERROR_NAME, "")
        self.answered: int = fields.get(_ANSWERED, 0)
        """The serial of the call that this is an answer to."""

    def body(self) -> "tuple[Any, ...]":
        found, at = [], self._at
        for kind in split(self._signature):
            value, at = _take(self._data, at, kind)
            found.append(value)
        return tuple(found)


def call(
    serial: int, to: str, path: str, interface: str, member: str, signature: str = "", *values: "Any"
) -> bytes:
    """A call that wants an answer."""
    body = bytearray()
    for kind, value in zip(split(signature), values, strict=True):
        put(body, kind, value)
    fields = [
        (_PATH, ("o", path)),
        (_INTERFACE, ("s", interface)),
        (_MEMBER, ("s", member)),
        (_TO, ("s", to)),
        *([(_SIGNATURE, ("g", signature))] if signature else []),
    ]
    head = bytearray(b"l\x01\x00\x01")
    put(head, "u", len(body))
    put(head, "u", serial)
    put(head, "a(yv)", fields)
    _pad(head, 8)
    return bytes(head + body)


def size(prefix: bytes) -> int:
    """How many bytes the message has that begins so."""
    if prefix[:1] != b"l":
        raise Failed("systemd speaks D-Bus in another byte order than this machine")
    fields = int.from_bytes(prefix[12:16], "little")
    return (PREFIX_BYTES + fields + 7) // 8 * 8 + int.from_bytes(prefix[4:8], "little")


def split(signature: str) -> "Iterable[str]":
    """Its complete types, one after the other."""
    at = 0
    while at < len(signature):
        end = _end(signature, at)
        yield signature[at:end]
        at = end


def _end(signature: str, at: int) -> int:
    """Of the complete type that begins there."""
    if signature[at] == "a":
        return _end(signature, at + 1)
    if signature[at] != "(":
        return at + 1
    at += 1
    while signature[at] != ")":
        at = _end(signature, at)
    return at + 1


def _pad(data: bytearray, boundary: int) -> None:
    data += bytes(-len(data) % boundary)


def put(data: bytearray, kind: str, value: "Any") -> None:
    """Append a value of one complete type."""
    first = kind[0]
    _pad(data, _ALIGNED[first])
    if first in _BYTES:
        data += int(value).to_bytes(_BYTES[first], "little", signed=first == "i")
    elif first in "sog":
        raw = value.encode()
        data += len(raw).to_bytes(1 if first == "g" else 4, "little") + raw + b"\0"
    elif first == "v":
        put(data, "g", value[0])
        put(data, *value)
    elif first == "(":
        for part, one in zip(split(kind[1:-1]), value, strict=True):
            put(data, part, one)
    else:
        _put_array(data, kind[1:], value)


def _put_array(data: bytearray, kind: str, values: "Iterable[Any]") -> None:
    """Its length counts neither itself nor the padding before its first element."""
    place = len(data)
    data += bytes(4)
    _pad(data, _ALIGNED[kind[0]])
    start = len(data)
    for value in values:
        put(data, kind, value)
    data[place : place + 4] = (len(data) - start).to_bytes(4, "little")


def _take(data: bytes, at: int, kind: str) -> "tuple[Any, int]":
    """The value, and where the next one may begin."""
    first = kind[0]
    at += -at % _ALIGNED[first]
    if first in _BYTES:
        end = at + _BYTES[first]
        return int.from_bytes(data[at:end], "little", signed=first == "i"), end
    if first in "sog":
        wide = 1 if first == "g" else 4
        start = at + wide
        end = start + int.from_bytes(data[at:start], "little")
        return data[start:end].decode(), end + 1
    if first == "v":
        inner, at = _take(data, at, "g")
        return _take(data, at, inner)
    if first == "(":
        found = []
        for part in split(kind[1:-1]):
            value, at = _take(data, at, part)
            found.append(value)
        return tuple(found), at
    return _take_array(data, at, kind[1:])


def _take_array(data: bytes, at: int, kind: str) -> "tuple[list[Any], int]":
    count = int.from_bytes(data[at : at + 4], "little")
    at += 4
    at += -at % _ALIGNED[kind[0]]
    end = at + count
    found = []
    while at < end:
        value, at = _take(data, at, kind)
        found.append(value)
    return found, end
