"""A file or a directory → a tar stream. Everything is reached by descriptor, and no link is followed on the way.

What changes while it is read makes no broken stream: a file that shrinks is filled up, one that grows is cut.
"""

import contextlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

from orch.archive.failure import CopyFailed, of_system

_CHUNK_BYTES = 256 << 10
_LARGEST_SIZELESS_BYTES = 16 << 20
"""Files of proc and sys say that they are empty; so much of them is read to find out."""
_NO_LINKS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Warn = Callable[[str], None]


def pack(out: Any, source: int, name: str, warn: Warn) -> None:
    """`source`: descriptor of a regular file or a directory, kept by the caller. Raises CopyFailed."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK_BYTES) as archive:
        if not _add(archive, source, name, warn):
            raise CopyFailed(f"{name}: neither a file nor a directory")


def _add(archive: tarfile.TarFile, fd: int, name: str, warn: Warn) -> bool:
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        _add_file(archive, fd, _header(name, found), warn)
    elif stat.S_ISDIR(found.st_mode):
        header = _header(name, found)
        header.type = tarfile.DIRTYPE
        archive.addfile(header)
        for entry in sorted(_names(fd)):
            _add_entry(archive, fd, entry, f"{name}/{entry}", warn)
    else:
        return False
    return True


def _names(directory: int) -> Iterator[str]:
    with os.scandir(directory) as entries:
        yield from (entry.name for entry in entries)


def _add_entry(archive: tarfile.TarFile, directory: int, entry: str, name: str, warn: Warn) -> None:
    try:
        found = os.stat(entry, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            header = _header(name, found)
            header.type, header.linkname = tarfile.SYMTYPE, os.readlink(entry, dir_fd=directory)
            archive.addfile(header)
            return
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            warn(f"{name} is left out: it is a device, a socket or a pipe")
            return
        fd = os.open(entry, _NO_LINKS, dir_fd=directory)
    except OSError as error:
        warn(f"{name} is left out: {(error.strerror or '').lower()}")
        return
    try:
        if not _add(archive, fd, name, warn):
            warn(f"{name} is left out: it changed while it was read")
    finally:
        os.close(fd)


def _header(name: str, found: os.stat_result) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.mode = stat.S_IMODE(found.st_mode)
    header.uid, header.gid, header.mtime = found.st_uid, found.st_gid, found.st_mtime
    return header


def _add_file(archive: tarfile.TarFile, fd: int, header: tarfile.TarInfo, warn: Warn) -> None:
    header.size = os.fstat(fd).st_size
    begin = b""
    if not header.size:
        with contextlib.suppress(OSError):
            while len(begin) < _LARGEST_SIZELESS_BYTES and (chunk := os.read(fd, _CHUNK_BYTES)):
                begin += chunk
        header.size = len(begin)
    archive.addfile(header, _Exactly(fd, begin, header, warn))


class _Exactly:
    """Reads as many bytes as the header has promised."""

    def __init__(self, fd: int, begin: bytes, header: tarfile.TarInfo, warn: Warn) -> None:
        self._fd = fd
        self._begin = begin
        self._header = header
        self._warn = warn
        self._is_short = False

    def read(self, size: int = 0, /) -> bytes:
        if self._begin:
            chunk, self._begin = self._begin[:size], self._begin[size:]
            return chunk
        chunk = b""
        while len(chunk) < size and not self._is_short:
            try:
                more = os.read(self._fd, size - len(chunk))
            except OSError as error:
                raise of_system(self._header.name, error) from error
            if not more:
                self._is_short = True
                self._warn(f"{self._header.name} became shorter while it was read")
            chunk += more
        return chunk.ljust(size, b"\0")
