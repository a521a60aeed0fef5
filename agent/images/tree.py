"""One layer's directory, in which no path leads outside.

Every path is walked component by component through directory descriptors, never following a
symbolic link the kernel's way: links are read and resolved here, with the layer as their root,
as openat2's RESOLVE_IN_ROOT would do. It matters that this is one descriptor after another: a path
checked first and opened later could be swapped in between.
"""

import errno
import os
import stat
from collections.abc import Sequence

from orch.oci.failure import bad_image

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
_WHITEOUT = os.makedev(0, 0)
_OPAQUE = "trusted.overlay.opaque"


class Tree:
    """A directory descriptor and the way down from it. Close it."""

    def __init__(self, root: str, depth: int) -> None:
        self._root = os.open(root, _DIRECTORY)
        self._depth = depth
        self._last: tuple[tuple[str, ...], int] | None = None

    def close(self) -> None:
        self.forget()
        os.close(self._root)

    def forget(self) -> None:
        """The directory kept open from the last walk may no longer be where it was."""
        if self._last:
            os.close(self._last[1])
            self._last = None

    def directory(self, parts: Sequence[str], *, create: bool = True) -> int:
        """A descriptor of the directory, made if it is missing; valid until the next call."""
        wanted = tuple(parts)
        if self._last and self._last[0] == wanted:
            return self._last[1]
        found = self._walk(wanted, create=create)
        self.forget()
        self._last = (wanted, found)
        return found

    def vacate(self, parent: int, name: str) -> bool:
        """Removes whatever is called `name`.

        True if that was a whiteout: what takes its place must still hide what lies below.
        """
        try:
            found = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(found.st_mode):
            # The parent's descriptor is the caller's; only a descriptor further down could go stale.
            _remove_directory(parent, name)
        else:
            os.unlink(name, dir_fd=parent)
        return _is_whiteout(found)

    def make_directory(self, parent: int, name: str) -> None:
        """A directory called `name`, kept if it is there."""
        try:
            found = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=parent)
            return
        if not stat.S_ISDIR(found.st_mode):
            hides = self.vacate(parent, name)
            os.mkdir(name, 0o755, dir_fd=parent)
            if hides:
                self.make_opaque(parent, name)

    def make_opaque(self, parent: int, name: str) -> None:
        """The directory hides the one of the same name in the layers below."""
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            os.setxattr(fd, _OPAQUE, b"y")
        finally:
            os.close(fd)

    def white_out(self, parent: int, name: str) -> None:
        """Hides `name` of the layers below; what this very layer put there stays."""
        try:
            found = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            os.mknod(name, stat.S_IFCHR, _WHITEOUT, dir_fd=parent)
            return
        if stat.S_ISDIR(found.st_mode):
            self.make_opaque(parent, name)

    def _walk(self, parts: Sequence[str], *, create: bool) -> int:
        way = [os.dup(self._root)]
        try:
            pending, links = list(reversed(parts)), 0
            while pending:
                part = pending.pop()
                if part in {"", "."}:
                    continue
                if part == "..":
                    if len(way) > 1:
                        os.close(way.pop())
                    continue
                target = self._step(way, part, create=create)
                if target is None:
                    continue
                links += 1
                if links > _MOST_LINKS:
                    raise bad_image(f'"{_shown(parts)}" goes through more than {_MOST_LINKS} symbolic links')
                if target.startswith("/"):
                    while len(way) > 1:
                        os.close(way.pop())
                pending.extend(reversed(target.split("/")))
            return way.pop()
        finally:
            for fd in way:
                os.close(fd)

    def _step(self, way: list[int], part: str, *, create: bool) -> str | None:
        """Goes into `part`, or answers where it points if it is a symbolic link."""
        if len(way) > self._depth:
            raise bad_image(f"a layer has directories more than {self._depth} deep")
        try:
            way.append(os.open(part, _DIRECTORY, dir_fd=way[-1]))
        except FileNotFoundError:
            if not create:
                raise
            os.mkdir(part, 0o755, dir_fd=way[-1])
        except NotADirectoryError:
            return self._through(way[-1], part, create=create)
        else:
            return None
        return self._step(way, part, create=False)

    def _through(self, parent: int, part: str, *, create: bool) -> str | None:
        try:
            return os.readlink(part, dir_fd=parent)
        except OSError as problem:
            if problem.errno != errno.EINVAL:
                raise
        if not create or not _is_whiteout(os.lstat(part, dir_fd=parent)):
            raise bad_image(f'"{part:.200}" is a file, and something lies beneath it')
        self.make_directory(parent, part)
        return part


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == _WHITEOUT


def _remove_directory(parent: int, name: str) -> None:
    """Depth is bounded by the walk that made it."""
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        with os.scandir(fd) as found:
            members = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for member, is_directory in members:
            if is_directory:
                _remove_directory(fd, member)
            else:
                os.unlink(member, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def _shown(parts: Sequence[str]) -> str:
    return "/".join(parts)[:200]
