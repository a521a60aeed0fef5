"""Blobs that this node got from the cluster's own registry, kept for a while for other nodes.

A layer is unpacked as it comes, and what came is gone; here a copy of it stays, in a file without a name, so that a
killed agent leaves none. Another node may read it while it still grows: what it gets is verified by itself.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from orch.oci import peering

KEPT_SECONDS = 1200.0
"""After its last use. For half of that time the registry sends others here."""
MOST_BYTES = 8 << 30
"""Of all copies."""
FULLEST = 0.85
"""Part of the disk in use beyond which nothing is kept."""
_CHUNK = 1 << 18


@dataclass(slots=True, eq=False)
class _Copy:
    fd: int
    size: int
    used_at: float
    written: int = 0
    has_failed: bool = False
    users: int = 0
    """Who reads or writes it: the last one closes it."""
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        self.grown.set()
        self.grown = asyncio.Event()


class Gone(Exception):
    """What was being read will never be whole."""


class Sharing:
    """All copies of this node. Close it."""

    def __init__(self, directory: Path, *, kept_seconds: float = KEPT_SECONDS) -> None:
        self._directory = directory
        self._kept_seconds = kept_seconds
        self._copies: dict[str, _Copy] = {}

    def close(self) -> None:
        for digest in list(self._copies):
            self._drop(digest)

    def size(self, digest: str) -> int | None:
        """Bytes of what others may have from here; None for what is not here."""
        copy = self._copies.get(digest)
        return copy.size if copy else None

    async def keeping(self, digest: str, size: int, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks; others may read them from now on. Who finds them wrong calls `refuse`."""
        copy = await self._begin(digest, size)
        try:
            async for chunk in chunks:
                if copy and not copy.has_failed:
                    await self._write(digest, copy, chunk)
                yield chunk
        finally:
            if copy:
                if copy.written < size:
                    self.refuse(digest)
                self._left(copy)

    async def read(self, digest: str, start: int) -> AsyncIterator[bytes]:
        """From `start` to the end, as fast as it comes. Raises Gone."""
        copy = self._copies.get(digest)
        if copy is None:
            raise Gone
        copy.users += 1
        try:
            while start < copy.size:
                while copy.written <= start and not copy.has_failed:
                    await copy.grown.wait()
                if copy.has_failed:
                    raise Gone
                count = min(_CHUNK, copy.written - start)
                chunk = await asyncio.to_thread(os.pread, copy.fd, count, start)
                start += len(chunk)
                yield chunk
        finally:
            self._left(copy)

    def refuse(self, digest: str) -> None:
        """It was not what it should be, or will not be whole: nobody gets it from here."""
        if digest in self._copies:
            self._drop(digest)

    def tidy(self) -> None:
        """Now and then: what nobody asks for any more goes, and all of it where room is short."""
        now = time.monotonic()
        is_full = _used(self._directory) > FULLEST
        for digest, copy in list(self._copies.items()):
            is_old = now - copy.used_at > self._kept_seconds and copy.written == copy.size
            if not copy.users and (is_old or (is_full and copy.written == copy.size)):
                self._drop(digest)

    async def _begin(self, digest: str, size: int) -> _Copy | None:
        """None where nothing is to be kept: it is here, or there is no room."""
        if (
            size < peering.SMALLEST_BYTES
            or sum(copy.size for copy in self._copies.values()) + size > MOST_BYTES
        ):
            return None
        fd = await asyncio.to_thread(_nameless, self._directory)
        if fd is None:
            return None
        if digest in self._copies:
            os.close(fd)
            return None
        self._copies[digest] = copy = _Copy(fd, size, time.monotonic(), users=1)
        return copy

    async def _write(self, digest: str, copy: _Copy, chunk: bytes) -> None:
        try:
            await asyncio.to_thread(_write, copy.fd, chunk, copy.written)
        except OSError:  # no room: the layer itself may still find some
            self.refuse(digest)
            return
        copy.written += len(chunk)
        copy.tell()

    def _drop(self, digest: str) -> None:
        copy = self._copies.pop(digest)
        copy.has_failed = True
        copy.tell()
        if not copy.users:
            os.close(copy.fd)

    def _left(self, copy: _Copy) -> None:
        copy.users -= 1
        copy.used_at = time.monotonic()
        if copy.has_failed and not copy.users:
            os.close(copy.fd)


def _nameless(directory: Path) -> int | None:
    """None where room is short, or where the file system has no files without names."""
    if _used(directory) > FULLEST:
        return None
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return None


def _write(fd: int, chunk: bytes, at: int) -> None:
    rest = memoryview(chunk)
    while rest:
        written = os.pwrite(fd, rest, at)
        rest, at = rest[written:], at + written


def _used(directory: Path) -> float:
    found = shutil.disk_usage(directory)
    return found.used / (found.used + found.free) if found.used + found.free else 0.0
