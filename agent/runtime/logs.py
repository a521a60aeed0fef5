"""Reads the log files of a container, across rotation, and follows them as they grow (asyncio, inotify)."""

import asyncio
import calendar
import contextlib
import functools
import itertools
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Self

from agent.linux import constants as c
from agent.linux import syscalls

MAX_LINE_BYTES = 1 << 20
"""A longer line comes in pieces."""
_READ_BYTES = 256 << 10
_LINES_A_TURN = 500
_STREAMS = 2
_WHOLE_LINE = re.compile(rb"^\S+ std(?:out|err) F ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Line:
    timestamp: float
    """Unix seconds, when the line was written."""
    stream: str
    """stdout or stderr"""
    text: str


async def read(
    directory: Path | str,
    container: str,
    *,
    since: float = 0.0,
    tail: int | None = None,
    follow: bool = False,
) -> AsyncIterator[Line]:
    """Its lines, oldest first: those from `since` on, the last `tail` of them, and with `follow` what comes.

    Following ends by itself when the container has ended and its last line was read.
    """
    path = Path(directory) / f"{container}.log"
    joined = _Joined()
    with contextlib.ExitStack() as stack:
        changes = stack.enter_context(_Changes(path.parent)) if follow else None
        files = _open_all(path)
        for older in files[:-1]:
            stack.callback(older.close)
        reader = _Reader(path, files[-1] if files else None)
        stack.callback(reader.close)
        kept: deque[Line] = deque(maxlen=tail)
        chosen = [each for each in files[:-1] if os.fstat(each.fileno()).st_mtime >= since]
        if tail is not None:
            chosen = _near_end([*chosen, *files[-1:]], tail)[:-1]
        for count, raw in enumerate(_lines_of(chosen, reader)):
            if count % _LINES_A_TURN == 0:
                await asyncio.sleep(0)  # nobody else in the agent waits for a long log
            line = joined.take(raw)
            if line is None or line.timestamp < since:
                continue
            if tail is not None:
                kept.append(line)
                continue
            yield line
        if tail is not None and not follow:
            kept.extend(line for line in joined.unfinished() if line.timestamp >= since)
        for line in kept:
            yield line
        if tail is not None and not follow:
            return
        while changes:
            is_complete = reader.is_complete()
            for count, raw in enumerate(reader.lines()):
                if count % _LINES_A_TURN == 0:
                    await asyncio.sleep(0)
                line = joined.take(raw)
                if line is not None and line.timestamp >= since:
                    yield line
            if is_complete:
                break
            if not reader.is_complete():  # it may have become so while we read, and nothing more will happen
                await changes.wait_next()
        for line in joined.unfinished():
            if line.timestamp >= since:
                yield line


async def pieces(directory: Path | str, container: str) -> AsyncIterator[tuple[str, bytes]]:
    """Its output from now on, stream by stream, to the byte as it comes; ends when the container has ended."""
    path = Path(directory) / f"{container}.log"
    with contextlib.ExitStack() as stack:
        changes = stack.enter_context(_Changes(path.parent))
        files = _open_all(path)[-1:]
        for file in files:
            file.seek(0, os.SEEK_END)
        reader = _Reader(path, files[0] if files else None)
        stack.callback(reader.close)
        while True:
            is_complete = reader.is_complete()
            for raw in reader.lines():
                _, stream, tag, text = raw.split(b" ", 3)
                yield stream.decode(), text + b"\n" if tag == b"F" else text
            if is_complete:
                return
            if not reader.is_complete():
                await changes.wait_next()


async def written(directory: Path | str, container: str) -> None:
    """Until it has ended and all that it said is in its file; for ever, where nobody writes it."""
    path = Path(directory) / f"{container}.log"
    if _is_whole(path):
        return
    with _Changes(path.parent) as changes:
        while not _is_whole(path):
            await changes.wait_next()


class _Reader:
    """The newest file; when it has been rotated away and read to its end, the one after it."""

    def __init__(self, path: Path, file: FileIO | None) -> None:
        self._path = path
        self._file = file
        self._rest = b""

    def lines(self) -> Iterator[bytes]:
        """What can be read now. A file that was rotated away is read to its end before the next is opened."""
        while True:
            after = self._after()
            if self._file:
                while chunk := self._file.read(_READ_BYTES):
                    *lines, self._rest = (self._rest + chunk).split(b"\n")
                    yield from lines
            if after is None:
                return
            self.close()
            self._file = after

    def is_complete(self) -> bool:
        """Ended for good: the newest file is read-only, and not because it was rotated."""
        if not self._file:
            return False
        return not os.fstat(self._file.fileno()).st_mode & 0o200 and not self._is_rotated()

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _after(self) -> FileIO | None:
        """The file that follows ours; the oldest there is when ours has been deleted meanwhile."""
        if self._file and not self._is_rotated():
            return None
        ours = os.fstat(self._file.fileno()).st_ino if self._file else 0
        name = self._path
        for number in itertools.count(1):
            older = Path(f"{self._path}.{number}")
            try:
                if older.stat().st_ino == ours:
                    break
            except FileNotFoundError:
                break
            name = older
        try:
            return name.open("rb", buffering=0)
        except FileNotFoundError:
            return None

    def _is_rotated(self) -> bool:
        assert self._file
        try:
            newest = self._path.stat()
        except FileNotFoundError:
            return False
        return newest.st_ino != os.fstat(self._file.fileno()).st_ino


class _Joined:
    """Puts the pieces of a line together, for each stream."""

    def __init__(self) -> None:
        self._pieces: dict[str, tuple[float, bytes]] = {}

    def unfinished(self) -> list[Line]:
        """What was written without an end of line, when nothing more is read."""
        rest = sorted((at, stream, text) for stream, (at, text) in self._pieces.items())
        return [Line(at, stream, text.decode("utf-8", "replace")) for at, stream, text in rest]

    def take(self, raw: bytes) -> Line | None:
        parts = raw.split(b" ", 3)
        if len(parts) < 4:
            return None  # a line that a crash cut short
        stamp, stream, tag, text = parts[0], parts[1].decode(), parts[2], parts[3]
        try:
            started, before = self._pieces.pop(stream) if stream in self._pieces else (_unix(stamp), b"")
        except ValueError:
            return None
        whole = before + text
        if tag == b"P" and len(whole) < MAX_LINE_BYTES:
            self._pieces[stream] = (started, whole)
            return None
        return Line(started, stream, whole.decode("utf-8", "replace"))


class _Changes:
    """Wakes when anything happens to the files of a directory."""

    _MASK = c.IN_MODIFY | c.IN_ATTRIB | c.IN_CREATE | c.IN_MOVED_TO

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._fd = syscalls.inotify_init()
        syscalls.inotify_add_watch(self._fd, str(directory), self._MASK)

    def __enter__(self) -> Self:
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    async def wait_next(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 65536)
        self._changed.set()


def _is_whole(path: Path) -> bool:
    """Read-only: nothing will be written any more."""
    try:
        return not path.stat().st_mode & 0o200
    except FileNotFoundError:
        return False


def _open_all(path: Path) -> list[FileIO]:
    """Oldest first, the newest last; opened at once, so that a rotation in between loses nothing."""
    numbers = [
        int(found.name.rpartition(".")[2])
        for found in path.parent.glob(f"{path.name}.*")
        if found.name.rpartition(".")[2].isdigit()
    ]
    names = [Path(f"{path}.{number}") for number in sorted(numbers, reverse=True)]
    files: list[FileIO] = []
    inodes: set[int] = set()
    for name in [*names, path]:
        with contextlib.suppress(FileNotFoundError):
            file = name.open("rb", buffering=0)
            inode = os.fstat(file.fileno()).st_ino
            if inode in inodes:
                file.close()
                continue
            inodes.add(inode)
            files.append(file)
    return files


def _near_end(files: list[FileIO], lines: int) -> list[FileIO]:
    """Those that hold the last lines, the first of them set to a line from which on there are enough."""
    wanted = lines + _STREAMS  # the first of each stream may be cut
    for index in reversed(range(len(files))):
        fd = files[index].fileno()
        begin = os.fstat(fd).st_size
        while begin and wanted > 0:
            step = min(begin, _READ_BYTES)
            begin -= step
            wanted -= len(_WHOLE_LINE.findall(os.pread(fd, step, begin)))
        if begin:
            begin += os.pread(fd, _READ_BYTES, begin).find(b"\n") + 1
        files[index].seek(begin)
        if wanted <= 0:
            return files[index:]
    return files


def _lines_of(older: list[FileIO], reader: _Reader) -> Iterator[bytes]:
    for file in older:
        rest = b""
        while chunk := file.read(_READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
    yield from reader.lines()


def _unix(stamp: bytes) -> float:
    """2026-11-20T10:00:00.000000000Z as seconds."""
    whole, _, fraction = stamp.decode().rstrip("Z").partition(".")
    return _second(whole) + float(f"0.{fraction or 0}")


@functools.lru_cache(maxsize=64)
def _second(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
