"""What a COPY or ADD copies from: a build's context, or another image; nothing is found outside of it."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agent.linux import constants as c
from agent.linux import syscalls
from orch.dockerfile import ignore

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class CannotPlace(Exception):
    """What is missing or wrong, for the reader of the Dockerfile."""


class Source(NamedTuple):
    """A root to copy from."""

    root: int
    """Descriptor of its directory."""
    ignored: ignore.Ignore
    keeps_owners: bool


class Found(NamedTuple):
    """Something that a source's pattern means."""

    path: str
    """Relative to the source's root; "" is the root."""
    is_directory: bool


def find(source: Source, patterns: Sequence[str]) -> list[Found]:
    """What the patterns mean, in order. Raises CannotPlace for one that means nothing."""
    found: list[Found] = []
    for pattern in patterns:
        cleaned = "/".join(part for part in pattern.split("/") if part not in {"", "."})
        if ".." in cleaned.split("/"):
            raise CannotPlace(f"{pattern} leads out of what may be copied")
        here = list(_matching(source, cleaned))
        if not here:
            raise CannotPlace(f"{pattern} is not there{_hint(source, cleaned)}")
        found += here
    return found


def _matching(source: Source, pattern: str) -> Iterator[Found]:
    """Depth first, in the order of names; a pattern without a wildcard is a single path."""
    if not any(letter in pattern for letter in "*?["):
        about = look(source, pattern)
        if about is not None and not source.ignored.leaves_out(pattern):
            yield Found(pattern, stat.S_ISDIR(about.st_mode))
        return
    yield from _globbed(source, "", pattern.split("/"))


def _globbed(source: Source, above: str, parts: list[str]) -> Iterator[Found]:
    first, rest = parts[0], parts[1:]
    for name, _ in sorted(members(source, above)):
        path = f"{above}/{name}".lstrip("/")
        if not ignore.matches(first, name) or source.ignored.leaves_out(path):
            continue
        about = look(source, path)
        if about is None:
            continue
        if not rest:
            yield Found(path, stat.S_ISDIR(about.st_mode))
        elif stat.S_ISDIR(about.st_mode):
            yield from _globbed(source, path, rest)


def look(source: Source, path: str) -> os.stat_result | None:
    """What is there, links followed inside the source's root; None when nothing is."""
    try:
        fd = open_in(source, path, os.O_PATH)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return None
        raise
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def members(source: Source, path: str) -> list[tuple[str, os.stat_result]]:
    fd = open_in(source, path, DIRECTORY)
    try:
        return [(name, os.lstat(name, dir_fd=fd)) for name in sorted(os.listdir(fd))]
    finally:
        os.close(fd)


def open_in(source: Source, path: str, flags: int) -> int:
    return syscalls.openat2(source.root, path or ".", flags, c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS)


def link_target(source: Source, path: str) -> str:
    above = open_in(source, os.path.dirname(path), DIRECTORY)
    try:
        return os.readlink(os.path.basename(path), dir_fd=above)
    finally:
        os.close(above)


def _hint(source: Source, path: str) -> str:
    if source.ignored.leaves_out(path):
        return ": .dockerignore leaves it out"
    above = os.path.dirname(path)
    try:
        names = [name for name, _ in members(source, above)][:8]
    except OSError:
        return f": there is no directory {above}" if above else ""
    return f": {above or 'the context'} has {', '.join(names) or 'nothing'}"
