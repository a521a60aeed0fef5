"""A tmpfs or a volume that begins with what the image has at its place (the options tmpcopyup and orchfill)."""

import os

from agent.linux import constants as c
from agent.linux import syscalls

_LINK, _DIRECTORY, _FILE, _KIND = 0o120000, 0o040000, 0o100000, 0o170000
_CHUNK_BYTES = 1 << 20
UNFILLED = 0o3000
"""The mode of a volume's directory until it has the image's content; its true one comes last."""
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_unfilled(directory: int) -> bool:
    return os.fstat(directory).st_mode == _DIRECTORY | UNFILLED


def copy(source: int, target: int) -> None:
    """Everything in the directory `source`, with owners, modes and times, into the directory `target`."""
    inner = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        for name in os.listdir(inner):
            _copy_entry(name, inner, target)
        _copy_attributes(inner, os.fstat(inner), target)
    finally:
        os.close(inner)


def _copy_entry(name: str, source: int, target: int) -> None:
    found = os.lstat(name, dir_fd=source)
    kind = found.st_mode & _KIND
    if kind == _LINK:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
        return
    if kind == _DIRECTORY:
        os.mkdir(name, 0o700, dir_fd=target)
        below = _beneath(source, name, os.O_RDONLY | os.O_DIRECTORY)
        made = _beneath(target, name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            copy(below, made)
        finally:
            os.close(below)
            os.close(made)
    elif kind == _FILE:
        _copy_file(name, source, found, target)
    # Devices, sockets and FIFOs stay behind: a tmpfs of a container has none.


def _copy_file(name: str, source: int, found: os.stat_result, target: int) -> None:
    reader = _beneath(source, name, os.O_RDONLY)
    writer = os.open(name, _NEW, 0o600, dir_fd=target)
    try:
        while os.sendfile(writer, reader, None, _CHUNK_BYTES):
            pass
        _copy_attributes(reader, found, writer)
    finally:
        os.close(reader)
        os.close(writer)


def _copy_attributes(source: int, found: os.stat_result, target: int) -> None:
    """Owner before mode: changing it clears setuid."""
    here = _reopened(target)
    try:
        os.fchown(here, found.st_uid, found.st_gid)
        os.fchmod(here, found.st_mode & 0o7777)
        for attribute in os.listxattr(source):
            if not attribute.startswith(("trusted.", "system.")):
                os.setxattr(here, attribute, os.getxattr(source, attribute))
        os.utime(here, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        if here != target:
            os.close(here)


def _reopened(target: int) -> int:
    """The root of a new mount is a mere path, which cannot be changed through."""
    if os.fstat(target).st_mode & _KIND != _DIRECTORY:
        return target
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)


def _beneath(directory: int, name: str, flags: int) -> int:
    return syscalls.openat2(directory, name, flags | os.O_NOFOLLOW, c.RESOLVE_BENEATH)
