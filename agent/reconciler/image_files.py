"""Small files of an image, found as its containers will see them, without ever leaving its layers: a stranger's.

Layers are merged here as overlayfs merges them: the highest one that has a name decides, a whiteout or an opaque
directory hides what lies below, and links are followed inside the image, from layer to layer.
"""

import functools
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from agent.linux import constants as c
from agent.linux import syscalls
from agent.reconciler import accounts

LARGEST_FILE_BYTES = 1 << 20
_MOST_LINKS = 40
_HOW = c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS
_OPAQUE = "trusted.overlay.opaque"
_WHITEOUT = os.makedev(0, 0)


@functools.lru_cache(maxsize=32)
def read(layers: tuple[str, ...], path: str) -> str:
    """The file as the container will see it; empty when there is none. `layers` are lowest first."""
    roots: list[int] = []
    try:
        roots.extend(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for layer in reversed(layers))
        return _read(roots, path)
    finally:
        for root in roots:
            os.close(root)


def account_of(user: str, layers: Sequence[str]) -> accounts.Account:
    """Who a user is in the image. Raises UnknownUser."""
    passwd, group = (read(tuple(layers), path) for path in ("/etc/passwd", "/etc/group"))
    return accounts.find(user, passwd, group)


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory of the merged tree."""

    path: tuple[str, ...]
    roots: tuple[int, ...]
    """Of the layers that have a part of it, highest first."""


def _read(roots: list[int], path: str) -> str:
    top = _Place((), tuple(roots))
    way, todo, links = [top], list(reversed(path.split("/"))), 0
    while todo:
        name = todo.pop()
        if name == "..":
            way = way[:-1] or [top]
        if name in {"", ".", ".."}:
            continue
        match _look(way[-1], name):
            case _Place() as below:
                way.append(below)
            case str(target):
                links += 1
                if links > _MOST_LINKS:
                    return ""
                way = [top] if target.startswith("/") else way
                todo += reversed(target.split("/"))
            case int(file) if not any(part not in {"", "."} for part in todo):
                return _content(file, (*way[-1].path, name))
            case _:
                return ""
    return ""


def _look(place: _Place, name: str) -> "_Place | str | int | None":
    """A directory, what a link says, the root of the layer that has a file, or nothing."""
    path = (*place.path, name)
    found: list[int] = []
    for root in place.roots:
        fd = _open(root, path, os.O_PATH | os.O_NOFOLLOW)
        if fd is None:
            continue
        try:
            about = os.fstat(fd)
            if stat.S_ISDIR(about.st_mode):
                found.append(root)
                if _is_opaque(root, path):
                    break
                continue
            if found or (stat.S_ISCHR(about.st_mode) and about.st_rdev == _WHITEOUT):
                break
            return os.readlink("", dir_fd=fd) if stat.S_ISLNK(about.st_mode) else root
        finally:
            os.close(fd)
    return _Place(path, tuple(found)) if found else None


def _content(root: int, path: tuple[str, ...]) -> str:
    fd = _open(root, path, os.O_RDONLY | os.O_NONBLOCK)
    if fd is None:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        return os.read(fd, LARGEST_FILE_BYTES).decode(errors="replace")
    finally:
        os.close(fd)


def _is_opaque(root: int, path: tuple[str, ...]) -> bool:
    fd = _open(root, path, os.O_RDONLY | os.O_DIRECTORY)
    if fd is None:
        return False
    try:
        return os.getxattr(fd, _OPAQUE) == b"y"
    except OSError:
        return False
    finally:
        os.close(fd)


def _open(root: int, path: tuple[str, ...], flags: int) -> int | None:
    try:
        return syscalls.openat2(root, "/".join(path), flags | os.O_CLOEXEC, _HOW)
    except OSError:
        return None
