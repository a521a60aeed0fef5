"""Reads a tar stream: headers → entries, in bounded memory.

Ours, because the standard library's reader trusts the sizes of extended headers and hides what a
layer may hold (setuid, devices, attributes). Knows ustar, pax, GNU long names and files with holes.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from agent.images import sparse
from agent.images.limits import Limits
from agent.images.sparse import Sparse
from orch.oci.failure import bad_image

BLOCK = 512
_END = bytes(BLOCK)


class Kind(Enum):
    FILE = "file"
    HARD_LINK = "hard link"
    SYMLINK = "symbolic link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    DIRECTORY = "directory"
    FIFO = "fifo"


_KINDS = {
    b"\0": Kind.FILE,
    b"0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER_DEVICE,
    b"4": Kind.BLOCK_DEVICE,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}

_XATTR = "SCHILY.xattr."
_MOST_EXTENSIONS = 8


class Source(Protocol):
    """Where an archive's bytes come from."""

    @property
    def position(self) -> int: ...
    def take(self, count: int) -> bytes: ...
    def skip(self, count: int) -> None: ...


class Entry(NamedTuple):
    """One member of the archive. Its content follows in the stream, `size` bytes."""

    name: str
    kind: Kind
    size: int = 0
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = MappingProxyType({})
    holes: Sparse | None = None
    """Where its content belongs, if it has holes."""


def entries(source: Source, limits: Limits) -> Iterator[Entry]:
    """The members in order. Content the caller leaves unread is skipped."""
    said: dict[str, bytes] = {}
    count = extensions = 0
    while (header := source.take(BLOCK)) and header != _END:
        count += 1
        extensions += 1
        if count > limits.entries:
            raise bad_image(f"a layer has more than {limits.entries} entries")
        if extensions > _MOST_EXTENSIONS:
            raise bad_image("a layer has extended headers that belong to no entry")
        if len(header) < BLOCK:
            raise bad_image("a layer's tar archive ends in the middle of a header")
        _check_sum(header)
        flag, size = header[156:157], _number(header[124:136], "size")
        match flag:
            case b"x":
                said |= _records(_extended(source, size, limits))
            case b"g":
                _extended(
                    source, size, limits
                )  # defaults for all entries: comments of git archive, nothing else
            case b"L":
                said["path"] = _extended(source, size, limits).rstrip(b"\0")
            case b"K":
                said["linkpath"] = _extended(source, size, limits).rstrip(b"\0")
            case _:
                entry = _with_holes(_entry(header, flag, size, said, limits), header, said, source, limits)
                said, extensions = {}, 0
                end = source.position + entry.size
                yield entry
                _skip(source, end - source.position + -entry.size % BLOCK, entry.name)
    if said:
        raise bad_image("a layer's tar archive ends after an extended header")


def _entry(header: bytes, flag: bytes, size: int, said: Mapping[str, bytes], limits: Limits) -> Entry:
    own = sparse.name(said) or said.get("path", b"")
    name = _text(own) if own else _name(header)
    kind = _KINDS.get(flag)
    if kind is None:
        raise bad_image(f'"{name:.200}" is of the unknown kind {flag!r}')
    if kind is Kind.FILE and name.endswith("/"):
        kind = Kind.DIRECTORY
    target = _text(said["linkpath"]) if "linkpath" in said else _text(header[157:257].partition(b"\0")[0])
    for text in (name, target):
        if len(text) > limits.name or "\0" in text:
            raise bad_image(
                f'"{text[:80]!r}…" is not a name: it is longer than {limits.name} bytes or holds a zero byte'
            )
    return Entry(
        name=name,
        kind=kind,
        size=_declared(said, "size", size) if kind is Kind.FILE else 0,
        mode=_number(header[100:108], "mode") & 0o7777,
        uid=_owner(_declared(said, "uid", _number(header[108:116], "uid")), name),
        gid=_owner(_declared(said, "gid", _number(header[116:124], "gid")), name),
        mtime_ns=_nanoseconds(said["mtime"])
        if "mtime" in said
        else _number(header[136:148], "mtime") * 10**9,
        target=target,
        device=(_number(header[329:337], "device"), _number(header[337:345], "device")),
        xattrs={key.removeprefix(_XATTR): value for key, value in said.items() if key.startswith(_XATTR)},
    )


def _with_holes(
    entry: Entry, header: bytes, said: Mapping[str, bytes], source: Source, limits: Limits
) -> Entry:
    is_old = header[156:157] == b"S"
    if not (is_old or sparse.is_told(said)) or entry.kind is not Kind.FILE:
        return entry
    if is_old:
        found, read = sparse.of_header(header, source, limits), 0
    else:
        found, read = sparse.of_records(said, source, limits)
    sparse.check(found, entry.size - read, limits)
    return entry._replace(size=entry.size - read, holes=found)


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(raw: bytes) -> str:
    """Names are bytes; what is not UTF-8 survives the way through a str and back."""
    return raw.decode("utf-8", "surrogateescape")


def _extended(source: Source, size: int, limits: Limits) -> bytes:
    if size > limits.header:
        raise bad_image(f"a layer has an extended header of {size} bytes; {limits.header} is the limit")
    content = source.take(size)
    if len(content) < size:
        raise bad_image("a layer's tar archive ends in the middle of an extended header")
    source.skip(-size % BLOCK)
    return content


def _records(content: bytes) -> dict[str, bytes]:
    """Records of the form "length key=value", each ended by a line feed."""
    found, start = {}, 0
    while start < len(content) and content[start]:
        digits, space, _ = content[start : start + 12].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = content[start : start + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) != length or record[-1:] != b"\n":
            raise bad_image("a layer has a malformed extended header")
        found[_text(key)] = value
        start += length
    return found


def _number(raw: bytes, what: str) -> int:
    """Octal digits, or GNU's base 256 where the first bit is set."""
    if raw[0] & 0x80:
        value = int.from_bytes(bytes((raw[0] & 0x3F,)) + raw[1:], "big")
        if raw[0] & 0x40:
            value -= 1 << (8 * len(raw) - 2)
        if what != "mtime" and not 0 <= value < 1 << 63:
            raise bad_image(f"a layer has an entry with the {what} {value}")
        return value
    digits = raw.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise bad_image(f"a layer has an entry with the {what} {digits!r}") from None


def _declared(said: Mapping[str, bytes], key: str, otherwise: int) -> int:
    if key not in said:
        return otherwise
    if not said[key].isdigit() or len(said[key]) > 19:
        raise bad_image(f"a layer has an entry with the {key} {said[key][:40]!r}")
    return int(said[key])


def _owner(number: int, name: str) -> int:
    if number >= (1 << 32) - 1:
        raise bad_image(f'"{name:.200}" belongs to the impossible user or group {number}')
    return number


def _nanoseconds(text: bytes) -> int:
    whole, _, fraction = text.partition(b".")
    try:
        seconds = int(whole)
        nanoseconds = int((fraction + b"000000000")[:9])
    except ValueError:
        raise bad_image(f"a layer has an entry with the time {text[:40]!r}") from None
    return seconds * 10**9 + (-nanoseconds if whole.startswith(b"-") else nanoseconds)


def _check_sum(header: bytes) -> None:
    """Old tools summed signed bytes."""
    digits = header[148:156].strip(b" \0")
    said = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else -1
    total = sum(header) - sum(header[148:156]) + 8 * 32
    if said == total:
        return
    if said != total - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
        raise bad_image("a layer is not a tar archive, or it is damaged: a header's checksum is wrong")


def _skip(source: Source, count: int, name: str) -> None:
    before = source.position
    source.skip(count)
    if source.position - before < count:
        raise bad_image(f'a layer\'s tar archive ends in the middle of "{name:.200}"')
