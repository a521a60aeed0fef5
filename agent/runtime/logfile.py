"""A log file that rotates: FILE, FILE.1 … FILE.N-1, newest first. Each line in the format of the CRI.

    2026-11-20T10:00:00.000000000Z stdout F text

P instead of F marks a piece of a line that goes on. A file that is complete, because its container has
ended and everything is written, is read-only: that is how readers know.
"""

import os
import time

COMPLETE_MODE = 0o440
_OPEN_MODE = 0o640


class LogFile:
    def __init__(self, path: str, max_bytes: int, files: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.files = max(files, 1)
        self._open()

    def make_room(self) -> None:
        """Rotate when it is full. Apart from writing, so that what is written once more goes to the same place."""
        if self.size >= self.max_bytes:
            self._rotate()

    def write(self, stream: bytes, chunk: bytes) -> None:
        """Append what came out of a pipe; its last line may not be finished."""
        self.make_room()
        prefix = stamp() + stream
        body, newline, rest = chunk.rpartition(b"\n")
        text = b""
        if newline:
            full = prefix + b" F "
            text = full + body.replace(b"\n", b"\n" + full) + b"\n"
        if rest:
            text += prefix + b" P " + rest + b"\n"
        self.size += _write_all(self.fd, text)

    def finish(self) -> None:
        os.fchmod(self.fd, COMPLETE_MODE)

    def close(self) -> None:
        os.close(self.fd)

    def _open(self) -> None:
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _OPEN_MODE)
        self.size = os.fstat(self.fd).st_size
        if self.size and os.pread(self.fd, 1, self.size - 1) != b"\n":
            self.size += _write_all(self.fd, b"\n")  # we were killed within a line

    def _rotate(self) -> None:
        os.close(self.fd)
        for number in range(self.files - 1, 0, -1):
            older = f"{self.path}.{number - 1}" if number > 1 else self.path
            try:
                os.rename(older, f"{self.path}.{number}")
            except FileNotFoundError:
                continue
        if self.files == 1:
            os.unlink(self.path)
        self._open()


def write_again(path: str, size: int, stream: bytes, chunk: bytes) -> None:
    """What a kill may have kept from being written, wholly or in part: from where it began."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # the container was removed meanwhile, and its log with it
    try:
        if os.fstat(fd).st_size > size:
            os.ftruncate(fd, size)
    finally:
        os.close(fd)
    log = LogFile(path, 1 << 62, 1)
    try:
        log.write(stream, chunk)
    finally:
        log.close()


_second = -1
_text = b""


def stamp() -> bytes:
    """Now, in UTC with nanoseconds, and a blank."""
    global _second, _text
    second, nanosecond = divmod(time.time_ns(), 1_000_000_000)
    if second != _second:
        _second, _text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
    return b"%s.%09dZ " % (_text, nanosecond)


def _write_all(fd: int, text: bytes) -> int:
    view = memoryview(text)
    while view:
        view = view[os.write(fd, view) :]
    return len(text)
