"""A compressed blob read once: decompressed by its magic bytes, both digests taken on the way."""

import hashlib
from collections.abc import Callable, Iterator
from typing import IO, cast

from agent.images.limits import Limits
from orch.oci.failure import ImageFailure, Reason, bad_image

try:
    from isal import isal_zlib as zlib  # takes half the time
except ImportError:  # a machine that is neither x86-64 nor arm64
    import zlib  # type: ignore[no-redef]

_NOT_SOUND = cast("type[Exception]", zlib.error)
_CHUNK = 1 << 18
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW = 128 << 20
"""Bytes; what `zstd -d` accepts by default. More would be memory spent on a stranger's word."""

STAGES = 2
"""How often a stream asks for `ahead`: what is read and hashed, and what is decompressed."""

Read = Callable[[int], bytes]
Ahead = Callable[[Iterator[bytes]], Iterator[bytes]]


class Head:
    """What is read, with a look at its beginning, so that what takes it apart is there before the reader is shut in."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._head = b""

    def look(self) -> None:
        while len(self._head) < len(_ZSTD) and (more := self._read(len(_ZSTD) - len(self._head))):
            self._head += more
        if self._head == _ZSTD:
            import zstandard  # noqa: F401  14 ms, for the few layers that need it

    def read(self, count: int) -> bytes:
        if self._head:
            head, self._head = self._head[:count], self._head[count:]
            return head
        return self._read(count)


class Stream:
    """The uncompressed bytes, in the portions the reader asks for."""

    def __init__(self, read: Read, size: int, limits: Limits, ahead: Ahead = iter) -> None:
        """`ahead` may take chunks before they are asked for, elsewhere."""
        self._shipped = _Shipped(read, size)
        self._blob = _Blob(ahead(self._shipped.chunks()))
        self._limits = limits
        self._plain_digest = hashlib.sha256()
        self._chunks = ahead(_decompressed(self._blob))
        self._rest = memoryview(b"")
        self.length = 0

    @property
    def blob_digest(self) -> str:
        return "sha256:" + self._shipped.digest.hexdigest()

    @property
    def diff_id(self) -> str:
        return "sha256:" + self._plain_digest.hexdigest()

    @property
    def position(self) -> int:
        """Bytes handed out so far."""
        return self.length - len(self._rest)

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes, or fewer at the end."""
        if len(self._rest) >= count:
            taken, self._rest = self._rest[:count], self._rest[count:]
            return bytes(taken)
        return b"".join(self.pieces(count))

    def pieces(self, count: int) -> Iterator[memoryview]:
        """The next `count` bytes piece by piece; fewer at the end."""
        while count:
            if not self._rest and not self._refill():
                return
            piece = self._rest[:count]
            self._rest = self._rest[len(piece) :]
            count -= len(piece)
            yield piece

    def skip(self, count: int) -> None:
        for _ in self.pieces(count):
            pass

    def drain(self) -> None:
        """To the very end, so that the digests are those of the whole."""
        self._rest = memoryview(b"")
        while self._refill():
            self._rest = memoryview(b"")

    def _refill(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self.length += len(chunk)
        self._judge()
        self._plain_digest.update(chunk)
        self._rest = memoryview(chunk)
        return True

    def _judge(self) -> None:
        if self.length > self._limits.bytes:
            raise bad_image(f"a layer unpacks to more than {self._limits.bytes} bytes")
        if self.length > self._limits.ratio_from and self.length > self._limits.ratio * self._blob.received:
            raise bad_image(
                f"a layer grows {self._limits.ratio}-fold when unpacked "
                f"({self._blob.received} bytes became {self.length}): it looks like a decompression bomb"
            )


class _Shipped:
    """The bytes as they come, and their digest."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self.digest = hashlib.sha256()

    def chunks(self) -> Iterator[bytes]:
        left = self._size
        while left:
            chunk = self._read(min(left, _CHUNK))
            if not chunk:
                came = self._size - left
                raise ImageFailure(
                    Reason.DIGEST_MISMATCH, f"a layer ended after {came} of {self._size} bytes promised"
                )
            left -= len(chunk)
            self.digest.update(chunk)
            yield chunk


class _Blob:
    """The same bytes where they are decompressed."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.received = 0
        """What lies ready and was not taken is no excuse for a bomb."""

    def chunk(self) -> bytes:
        """The next bytes; empty at the end."""
        chunk = next(self._chunks, b"")
        self.received += len(chunk)
        return chunk


def _decompressed(blob: _Blob) -> Iterator[bytes]:
    head = blob.chunk()
    while 0 < len(head) < 4 and (more := blob.chunk()):
        head += more
    if head.startswith(_GZIP):
        yield from _gunzipped(blob, head)
    elif head.startswith(_ZSTD):
        yield from _unzstded(blob, head)
    else:
        while head:
            yield head
            head = blob.chunk()


def _gunzipped(blob: _Blob, chunk: bytes) -> Iterator[bytes]:
    """Several gzip members one after another are one stream (pigz and estargz make such)."""
    inflate = zlib.decompressobj(wbits=31)
    while True:
        while chunk:
            try:
                plain = inflate.decompress(chunk, _CHUNK)
            except _NOT_SOUND as problem:
                raise bad_image(f"a layer is not sound gzip: {problem}") from None
            if plain:
                yield plain
            chunk = inflate.unconsumed_tail
            if inflate.eof:
                chunk = inflate.unused_data or blob.chunk()
                if not chunk:
                    return
                inflate = zlib.decompressobj(wbits=31)
        chunk = blob.chunk()
        if not chunk:
            # What the window still holds came out with the last call, unless the end is missing.
            raise bad_image("a layer's gzip stream ends too early")


def _unzstded(blob: _Blob, chunk: bytes) -> Iterator[bytes]:
    import zstandard

    source = _Joined(blob, chunk)
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    try:
        with decompressor.stream_reader(cast("IO[bytes]", source), read_across_frames=True) as reader:
            while plain := reader.read(_CHUNK):
                yield plain
    except zstandard.ZstdError as problem:
        raise bad_image(f"a layer is not sound zstd: {problem}") from None


class _Joined:
    """The first chunk and the rest of the blob, as the file zstandard wants."""

    def __init__(self, blob: _Blob, head: bytes) -> None:
        self._blob = blob
        self._head = head

    def read(self, _count: int = -1) -> bytes:
        head, self._head = self._head, b""
        return head or self._blob.chunk()
