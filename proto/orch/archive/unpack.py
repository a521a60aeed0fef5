"""A tar stream of a stranger → files below one directory, and nowhere else.

Every directory on the way to an entry is opened from the one above without following links, so neither a name
with `..`, nor a link that the stream made before, nor one that somebody puts there meanwhile leads out.
"""

import errno
import os
import stat
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orch.archive.failure import CopyFailed, of_system

_CHUNK_BYTES = 256 << 10
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OVER = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MODES = 0o777
"""setuid, setgid and sticky bits of a stranger are not taken over."""

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Into:
    """Where a stream goes."""

    directory: int
    """Descriptor of an existing directory, kept by the caller."""
    rename: str | None = None
    """The name of the outermost file or directory; "" leaves it out, None keeps what the stream says."""
    takes_directory: bool = True
    takes_file: bool = True
    said: str = ""
    """The destination as the user wrote it."""


def unpack(stream: Any, into: Into, warn: Warn) -> int:
    """How many entries there were. Raises CopyFailed."""
    modes: list[tuple[list[str], int]] = []
    count = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK_BYTES) as archive:
            for member in archive:
                parts = _parts(member.name, into)
                if not count:
                    _check_first(member, into)
                count += 1
                if member.isdir():
                    modes.append((parts, member.mode & _MODES))
                _put(archive, member, parts, into, warn)
    except tarfile.TarError as error:
        raise CopyFailed(f"the tar stream is broken: {error}") from error
    for parts, mode in reversed(modes):  # last, so that a read-only directory could be filled
        _with_directory(into, parts, lambda fd, mode=mode: os.fchmod(fd, mode))  # type: ignore[misc]
    return count


def _check_first(member: tarfile.TarInfo, into: Into) -> None:
    if member.isdir() and not into.takes_directory:
        raise CopyFailed(f"{into.said} is a file: a directory cannot be copied over it")
    if not member.isdir() and not into.takes_file:
        raise CopyFailed(f"{into.said} is no directory: make it first, or leave out the last /")


def _parts(name: str, into: Into) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or any("\0" in part for part in parts):
        raise CopyFailed(
            f"{name!r} would lie outside of {into.said or 'the target'}: nothing more is unpacked"
        )
    if into.rename is not None:
        return [*([into.rename] if into.rename else []), *parts[1:]]
    return parts


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, parts: list[str], into: Into, warn: Warn) -> None:
    name = "/".join(parts)
    if member.isdir():
        _with_directory(into, parts, lambda _: None)
        return
    if not parts:
        raise CopyFailed(f"{member.name!r}: a file needs a name")
    if not (member.isreg() or member.issym() or member.islnk()):
        warn(f"{name} is left out: it is a device or a pipe")
        return
    where = _enter(into, parts[:-1])
    try:
        if member.issym():
            _make_room(where, parts[-1], name)
            os.symlink(member.linkname, parts[-1], dir_fd=where)
        elif member.islnk():
            _link(member, into, where, parts[-1])
        else:
            _write(archive.extractfile(member), member, where, parts[-1])
    except OSError as error:
        raise of_system(name, error) from error
    finally:
        os.close(where)


def _enter(into: Into, parts: Sequence[str]) -> int:
    """A descriptor of the directory, made where it is missing."""
    here = os.dup(into.directory)
    try:
        for number, part in enumerate(parts):
            below = _enter_one(here, part, "/".join(parts[: number + 1]))
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def _enter_one(here: int, part: str, path: str) -> int:
    try:
        try:
            return os.open(part, _DIRECTORY, dir_fd=here)
        except FileNotFoundError:
            os.mkdir(part, 0o755, dir_fd=here)
            return os.open(part, _DIRECTORY, dir_fd=here)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            is_link = stat.S_ISLNK(os.stat(part, dir_fd=here, follow_symlinks=False).st_mode)
            what = "a symbolic link, which is not followed" if is_link else "no directory"
            raise CopyFailed(f"{path} is {what}: copy to where it leads, or remove it") from error
        raise of_system(path, error) from error


def _with_directory(into: Into, parts: list[str], what: Callable[[int], None]) -> None:
    fd = _enter(into, parts)
    try:
        if parts:
            what(fd)
    except OSError as error:
        raise of_system("/".join(parts), error) from error
    finally:
        os.close(fd)


def _make_room(where: int, name: str, path: str) -> None:
    try:
        os.unlink(name, dir_fd=where)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        raise CopyFailed(f"{path} is a directory there, and no file can take its place") from None


def _write(content: Any, member: tarfile.TarInfo, where: int, name: str) -> None:
    try:
        _make_room(where, name, member.name)
        fd = os.open(name, _NEW, 0o600, dir_fd=where)
    except OSError as error:
        if error.errno not in {errno.EBUSY, errno.EPERM}:
            raise
        fd = os.open(name, _OVER, dir_fd=where)  # something is mounted there: it is written over
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise CopyFailed(f"{member.name}: what is there is no file")
        while chunk := content.read(_CHUNK_BYTES):
            view = memoryview(chunk)
            while view:
                view = view[os.write(fd, view) :]
        os.fchmod(fd, member.mode & _MODES)
        os.utime(fd, (member.mtime, member.mtime))
    finally:
        os.close(fd)


def _link(member: tarfile.TarInfo, into: Into, where: int, name: str) -> None:
    """To a file that lies below the target, too."""
    parts = _parts(member.linkname, into)
    there = _enter(into, parts[:-1])
    try:
        if not parts or not stat.S_ISREG(os.stat(parts[-1], dir_fd=there, follow_symlinks=False).st_mode):
            raise CopyFailed(f"{member.name} is a hard link to {member.linkname}, which is no file")
        if parts[-1] == name and os.path.sameopenfile(there, where):
            return
        _make_room(where, name, member.name)
        os.link(parts[-1], name, src_dir_fd=there, dst_dir_fd=where, follow_symlinks=False)
    finally:
        os.close(there)
