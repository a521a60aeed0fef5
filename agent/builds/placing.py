"""Files into an image: what COPY, ADD and WORKDIR mean, inside the image's own tree.

Runs in a process of its own (`placer`) whose root is the image, an overlay of its layers with a new one on top,
so that no link in an image or a context leads to the host. Sources are reached through a descriptor of their
root that was opened before, and never through a link that leaves it.
"""

import bz2  # noqa: F401  tarfile asks for these when it meets an archive: by then our root is the image
import gzip  # noqa: F401
import lzma  # noqa: F401
import os
import stat
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agent.builds import sources
from agent.builds.sources import CannotPlace, Found, Source
from orch.dockerfile import ignore

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CHUNK = 1 << 20


class Owner(NamedTuple):
    uid: int
    gid: int


class Placing(NamedTuple):
    """One COPY or ADD, all variables expanded."""

    target: str
    """Absolute; ends with a slash when it is a directory for sure."""
    owner: Owner | None
    """None: root for a context's files, and as they were for those of another image."""
    mode: int | None
    exclude: ignore.Ignore
    parents: bool
    unpacks: bool


def place(source: Source, found: Sequence[Found], how: Placing, *, several: bool) -> None:
    """Into the tree whose root is "/"; `several` sources need a directory."""
    for one in found:
        if one.is_directory:
            target = _below(how.target, one.path) if how.parents else how.target
            _make_directories(target.rstrip("/") or "/", how)
            _Copy(source, how).directory(one.path, target.rstrip("/"))
        else:
            _place_file(source, one, how, several=several)


def write(name: str, content: bytes, how: Placing, *, several: bool) -> None:
    """A here-document."""
    target = _file_target(name, how, several=several)
    _make_directories(os.path.dirname(target), how)
    _vacate(target)
    fd = os.open(target, _NEW, 0o644)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        _own(fd, how.owner or Owner(0, 0), how.mode if how.mode is not None else 0o644)


def make_directory(path: str, owner: Owner) -> None:
    """With those above it, where they are missing."""
    _make_directories(path, Placing(path, owner, None, ignore.Ignore(), False, False))


def _place_file(source: Source, one: Found, how: Placing, *, several: bool) -> None:
    name = one.path if how.parents else os.path.basename(one.path)
    fd = sources.open_in(source, one.path, _READ & ~os.O_NOFOLLOW)
    try:
        if how.unpacks and _is_archive(fd):
            _make_directories(how.target.rstrip("/") or "/", how)
            _unpack(fd, how.target, how.owner)
            return
        target = _below(how.target, name) if how.parents else _file_target(name, how, several=several)
        _make_directories(os.path.dirname(target), how)
        _Copy(source, how).file(fd, os.fstat(fd), target)
    finally:
        os.close(fd)


def _file_target(name: str, how: Placing, *, several: bool) -> str:
    if how.target.endswith("/") or several or os.path.isdir(how.target):
        return _below(how.target, name)
    return how.target


class _Copy:
    """Copies what it is shown; hard links stay hard links."""

    def __init__(self, source: Source, how: Placing) -> None:
        self._source = source
        self._how = how
        self._twins: dict[tuple[int, int], str] = {}

    def directory(self, path: str, target: str) -> None:
        """The members of one directory into another, which is there."""
        for name, about in sources.members(self._source, path):
            inner = f"{path}/{name}".lstrip("/")
            if self._is_left_out(inner):
                continue
            self._copy(inner, about, f"{target}/{name}")

    def _copy(self, path: str, about: os.stat_result, target: str) -> None:
        if stat.S_ISDIR(about.st_mode):
            if not os.path.isdir(target):
                _vacate(target)
                os.mkdir(target, 0o755)
            fd = sources.open_in(self._source, path, sources.DIRECTORY)
            there = os.open(target, sources.DIRECTORY)
            try:
                self._finish(fd, there, about)
            finally:
                os.close(fd)
                os.close(there)
            self.directory(path, target)
            os.utime(target, ns=(about.st_mtime_ns, about.st_mtime_ns))
        elif stat.S_ISLNK(about.st_mode):
            _vacate(target)
            os.symlink(sources.link_target(self._source, path), target)
            owner = self._owner(about)
            os.chown(target, owner.uid, owner.gid, follow_symlinks=False)
            os.utime(target, ns=(about.st_mtime_ns, about.st_mtime_ns), follow_symlinks=False)
        elif stat.S_ISREG(about.st_mode):
            fd = sources.open_in(self._source, path, _READ)
            try:
                self.file(fd, about, target)
            finally:
                os.close(fd)

    def file(self, fd: int, about: os.stat_result, target: str) -> None:
        if not stat.S_ISREG(about.st_mode):
            raise CannotPlace(f"{target}: only files, directories and links can be copied")
        twin = (about.st_dev, about.st_ino)
        _vacate(target)
        if about.st_nlink > 1 and twin in self._twins:
            os.link(self._twins[twin], target, follow_symlinks=False)
            return
        self._twins[twin] = target
        there = os.open(target, _NEW, 0o600)
        try:
            _pour(fd, there)
            self._finish(fd, there, about)
            os.utime(there, ns=(about.st_mtime_ns, about.st_mtime_ns))
        finally:
            os.close(there)

    def _finish(self, fd: int, there: int, about: os.stat_result) -> None:
        mode = stat.S_IMODE(about.st_mode) if self._how.mode is None else self._how.mode
        _own(there, self._owner(about), mode)
        if self._source.keeps_owners:
            for name in os.listxattr(fd):
                if name == "security.capability" or name.startswith("user."):
                    os.setxattr(there, name, os.getxattr(fd, name))

    def _owner(self, about: os.stat_result) -> Owner:
        if self._how.owner is not None:
            return self._how.owner
        return Owner(about.st_uid, about.st_gid) if self._source.keeps_owners else Owner(0, 0)

    def _is_left_out(self, path: str) -> bool:
        return self._source.ignored.leaves_out(path) or self._how.exclude.leaves_out(path)


# -- the tree ------------------------------------------------------------------------------------------------


def _make_directories(path: str, how: Placing) -> None:
    """Missing ones are made, the owner's; links on the way are followed."""
    missing = []
    while path not in {"", "/"} and not os.path.isdir(path):
        if os.path.lexists(path):
            raise CannotPlace(f"{path} is not a directory in the image")
        missing.append(path)
        path = os.path.dirname(path)
    owner = how.owner or Owner(0, 0)
    for each in reversed(missing):
        os.mkdir(each, 0o755)
        os.chown(each, owner.uid, owner.gid)


def _vacate(path: str) -> None:
    try:
        about = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(about.st_mode):
        raise CannotPlace(f"{path} is a directory in the image, and a file would take its place")
    os.unlink(path)


def _own(fd: int, owner: Owner, mode: int) -> None:
    """Owner first: changing it clears setuid and capabilities."""
    os.fchown(fd, owner.uid, owner.gid)
    os.fchmod(fd, mode)


def _pour(source: int, target: int) -> None:
    while os.sendfile(target, source, None, _CHUNK):
        pass


def _below(target: str, name: str) -> str:
    return f"{target.rstrip('/')}/{name}"


# -- archives ------------------------------------------------------------------------------------------------


def _is_archive(fd: int) -> bool:
    with os.fdopen(os.dup(fd), "rb") as file:
        try:
            with tarfile.open(fileobj=file) as tar:
                first = tar.next()
        except (tarfile.TarError, EOFError, OSError):
            return False
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
        return first is not None


def _unpack(fd: int, target: str, owner: Owner | None) -> None:
    """ADD of an archive: its members, as they are, into a directory. Our root is the image: nothing else is near."""
    with os.fdopen(os.dup(fd), "rb") as file, tarfile.open(fileobj=file) as tar:
        for member in tar:
            if owner is not None:
                member.uid, member.gid = owner
            member.uname = member.gname = ""
            tar.extract(member, target or "/", numeric_owner=True, filter="fully_trusted")


def attributes_of(words: Mapping[str, Any]) -> Placing:
    """A placing as it comes over a pipe."""
    owner = Owner(*words["owner"]) if words["owner"] else None
    exclude = ignore.read("\n".join(words["exclude"]))
    return Placing(words["target"], owner, words["mode"], exclude, words["parents"], words["unpacks"])
