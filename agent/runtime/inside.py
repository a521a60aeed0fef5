"""Paths inside the root of a container, found without ever leaving it.

The root is "/" already. What an image, a volume or a process that shares one puts in the way (symbolic
links, also dangling ones, /proc's magic links, directories that change places meanwhile) can only lead to
another place inside. Everything is handed on as a descriptor, so that what was looked at is what is used.
"""

import errno
import os

from agent.linux import constants as c
from agent.linux import syscalls

_MOST_LINKS = 40
_OPEN = os.O_PATH | os.O_CLOEXEC
_NOT_A_PLACE = os.O_NOFOLLOW | os.O_PATH | os.O_CLOEXEC
_LINK, _DIRECTORY, _KIND = 0o120000, 0o040000, 0o170000


class Inside:
    """Made once the new root is "/"."""

    def __init__(self) -> None:
        self.root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def find(self, path: str) -> int:
        """A descriptor of what is there, links followed inside the root."""
        return syscalls.openat2(self.root, path, os.O_PATH, c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS)

    def find_plain(self, path: str) -> int:
        """The same, but a link anywhere on the way is an error (ELOOP)."""
        return syscalls.openat2(self.root, path, os.O_PATH, c.RESOLVE_IN_ROOT | c.RESOLVE_NO_SYMLINKS)

    def make(self, path: str, *, is_directory: bool, plain: bool = False) -> int:
        """Find it, or make it with the directories above it; the target of a dangling link is made too."""
        try:
            return self.find_plain(path) if plain else self.find(path)
        except FileNotFoundError:
            made = self._make_last(path) if is_directory and not plain else -1
            return made if made >= 0 else _Walk(self.root, is_directory=is_directory).go(path)

    def _make_last(self, path: str) -> int:
        """The usual case, a directory that alone is missing; -1 where it is not that."""
        above, _, name = path.rpartition("/")
        try:
            fd = self.find(above or "/")
        except OSError:
            return -1
        try:
            os.mkdir(name, 0o755, dir_fd=fd)
            return os.open(name, _NOT_A_PLACE | os.O_DIRECTORY, dir_fd=fd)
        except OSError:
            return -1
        finally:
            os.close(fd)

    def close(self) -> None:
        os.close(self.root)


class _Walk:
    """Component by component: `..` goes back to the descriptor we came from, never to what the kernel says."""

    def __init__(self, root: int, *, is_directory: bool) -> None:
        self.way = [os.dup(root)]
        self.is_directory = is_directory
        self.links = 0

    def go(self, path: str) -> int:
        try:
            todo = _parts(path)
            while todo:
                self._step(todo)
            return os.dup(self.way[-1])
        finally:
            self._back_to(0)

    def _step(self, todo: list[str]) -> None:
        name = todo.pop()
        if name == "..":
            self._back_to(max(len(self.way) - 1, 1))
            return
        at = self.way[-1]
        try:
            fd = os.open(name, _NOT_A_PLACE, dir_fd=at)
        except FileNotFoundError:
            self._make(name, at, is_directory=bool(todo) or self.is_directory)
            fd = os.open(name, _NOT_A_PLACE, dir_fd=at)
        if os.fstat(fd).st_mode & _KIND != _LINK:
            self.way.append(fd)
            return
        try:
            target = os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)
        self.links += 1
        if self.links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        if target.startswith("/"):
            self._back_to(1)
        todo += _parts(target)

    def _make(self, name: str, at: int, *, is_directory: bool) -> None:
        try:
            if is_directory:
                os.mkdir(name, 0o755, dir_fd=at)
            else:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o644, dir_fd=at))
        except FileExistsError:
            return  # somebody was faster; it is looked at like anything else

    def _back_to(self, depth: int) -> None:
        while len(self.way) > depth:
            os.close(self.way.pop())


def _parts(path: str) -> list[str]:
    """The last one first."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


def is_directory(fd: int) -> bool:
    return os.fstat(fd).st_mode & _KIND == _DIRECTORY
