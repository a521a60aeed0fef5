"""gzip on all processors: blocks of one size, each deflated by itself with what came before it as its dictionary.

How many processors there are changes nothing of the output; only zlib and the level do. isal would be faster still,
but what it writes depends on the kind of processor, and the same layer would have several digests.
"""

import os
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

BLOCK_BYTES = 1 << 19
_WINDOW_BYTES = 1 << 15
"""How far back deflate looks."""
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Without a name and a time; the last byte: nobody says which system."""


class Sink(Protocol):
    def write(self, data: bytes, /) -> Any: ...


class Zipping:
    """Writes what it is given to `target`, compressed. Close it; that leaves the target open."""

    def __init__(self, target: Sink, level: int) -> None:
        self._target = target
        self._level = level
        self._block = bytearray()
        self._window = b""
        self._crc = 0
        self._length = 0
        self._threads: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[bytes]] = deque()
        target.write(_HEADER)

    def write(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)
        self._block += data
        while len(self._block) > BLOCK_BYTES:
            self._begin(bytes(self._block[:BLOCK_BYTES]))
            del self._block[:BLOCK_BYTES]

    def close(self) -> None:
        while self._waiting:
            self._target.write(self._waiting.popleft().result())
        if self._threads:
            self._threads.shutdown()
        self._target.write(_deflated(bytes(self._block), self._window, self._level, is_last=True))
        self._target.write(
            self._crc.to_bytes(4, "little") + (self._length & 0xFFFFFFFF).to_bytes(4, "little")
        )

    def _begin(self, block: bytes) -> None:
        processors = os.cpu_count() or 1
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor  # 5 ms that a small layer does not need

            self._threads = ThreadPoolExecutor(processors)
        if len(self._waiting) > processors:
            self._target.write(self._waiting.popleft().result())
        self._waiting.append(self._threads.submit(_deflated, block, self._window, self._level, is_last=False))
        self._window = block[-_WINDOW_BYTES:]


def _deflated(block: bytes, window: bytes, level: int, *, is_last: bool) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=window)
    return deflate.compress(block) + deflate.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH)
