"""Files with holes: which parts of them GNU tar stored, and where these belong.

Three of its ways: a map in the header (type S), in an extended header (0.1), and in front of the content (1.0).
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from agent.images.limits import Limits
from orch.oci.failure import ImageFailure, bad_image

BLOCK = 512
_PREFIX = "GNU.sparse."
_IN_HEADER, _IN_EXTENSION = (386, 4), (0, 21)
"""Where the parts are, and how many at most."""
_PART_BYTES = 24
_MORE_AT = {_IN_HEADER: 482, _IN_EXTENSION: 504}
_LENGTH_AT = slice(483, 495)


class Source(Protocol):
    def take(self, count: int) -> bytes: ...


class Sparse(NamedTuple):
    length: int
    """Of the file, with its holes."""
    parts: tuple[tuple[int, int], ...]
    """(offset, bytes) of what is stored, in order."""


def is_told(said: Mapping[str, bytes]) -> bool:
    return any(key.startswith(_PREFIX) for key in said)


def name(said: Mapping[str, bytes]) -> bytes:
    """The file's own: the header's is one that other programs may write it under."""
    return said.get(f"{_PREFIX}name", b"")


def of_header(header: bytes, source: Source, limits: Limits) -> Sparse:
    """Of type S; the blocks that follow the header are read. Raises ImageFailure."""
    parts = _parts_in(header, _IN_HEADER)
    block, kind, read = header, _IN_HEADER, 0
    while block[_MORE_AT[kind]]:
        block, kind, read = source.take(BLOCK), _IN_EXTENSION, read + BLOCK
        if len(block) < BLOCK or read > limits.header:
            raise _bad("its map does not end")
        parts += _parts_in(block, kind)
    return Sparse(_octal(header[_LENGTH_AT]), tuple(parts))


def of_records(said: Mapping[str, bytes], source: Source, limits: Limits) -> tuple[Sparse, int]:
    """And how many bytes of the content were its map. Raises ImageFailure."""
    if said.get(f"{_PREFIX}major") == b"1":
        numbers, read = _numbers_before_content(source, limits)
        length = _decimal(said.get(f"{_PREFIX}realsize", b""))
    elif f"{_PREFIX}map" in said:
        numbers, read = [_decimal(each) for each in said[f"{_PREFIX}map"].split(b",")], 0
        length = _decimal(said.get(f"{_PREFIX}size", b""))
    else:
        raise _bad("its map is written in a way of 2004: pack it again")
    if len(numbers) % 2:
        raise _bad("its map is damaged")
    return Sparse(length, tuple(zip(numbers[::2], numbers[1::2], strict=True))), read


def check(found: Sparse, stored: int, limits: Limits) -> None:
    """The parts must lie in the file one after another, and be all that is stored. Raises ImageFailure."""
    end = 0
    for offset, size in found.parts:
        if offset < end:
            raise _bad("its parts overlap")
        end = offset + size
    if end > found.length:
        raise _bad("its parts reach beyond its end")
    if sum(size for _, size in found.parts) != stored:
        raise _bad("its parts are not what is stored")
    if found.length > limits.bytes:
        raise _bad(f"it is {found.length} bytes long; {limits.bytes} is the limit")


def _parts_in(block: bytes, where: tuple[int, int]) -> list[tuple[int, int]]:
    begin, most = where
    found = []
    for at in range(begin, begin + most * _PART_BYTES, _PART_BYTES):
        if not block[at + 12]:
            break
        found.append((_octal(block[at : at + 12]), _octal(block[at + 12 : at + _PART_BYTES])))
    return found


def _numbers_before_content(source: Source, limits: Limits) -> tuple[list[int], int]:
    """One on each line, the first says how many pairs; whole blocks."""
    text, read = b"", 0
    wanted = -1
    while wanted < 0 or text.count(b"\n") < wanted:
        block = source.take(BLOCK)
        text, read = text + block, read + BLOCK
        if len(block) < BLOCK or read > limits.header:
            raise _bad("its map does not end")
        if wanted < 0 and b"\n" in text:
            wanted = 1 + 2 * _decimal(text.partition(b"\n")[0])
    return [_decimal(line) for line in text.split(b"\n")[1:wanted]], read


def _octal(digits: bytes) -> int:
    if digits[0] & 0x80:
        return int.from_bytes(bytes((digits[0] & 0x7F,)) + digits[1:], "big")
    try:
        return int(digits.strip(b" \0") or b"0", 8)
    except ValueError:
        raise _bad("its map is damaged") from None


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 19:
        raise _bad("its map is damaged")
    return int(digits)


def _bad(why: str) -> ImageFailure:
    return bad_image(f"a layer has a sparse file that makes no sense: {why}")
