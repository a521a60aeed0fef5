"""A chunk of output on its way from a pipe into a log file, kept where a kill of orch-log does not reach it.

The kernel moves it out of the pipe to the end of a file in memory (splice: bytes are either still in the pipe or
already there). Noted ahead: where that end was, which log it is for and how long the log was. Who comes back
after a kill cuts the log to that length and writes the chunk once more: nothing is lost, nothing is there twice.
"""

import os

_HEADER_BYTES = 8192
_NUMBER_BYTES = 8
_LONGEST_BYTES = 1 << 20
"""Then it begins anew: cutting it off after each chunk would cost more than all the rest."""


class Scratch:
    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._end = max(os.fstat(self._fd).st_size, _HEADER_BYTES)

    def interrupted(self) -> "tuple[str, int, bytes, bytes] | None":
        """Path and length of the log, stream and chunk, if somebody before us was killed meanwhile."""
        header = os.pread(self._fd, _HEADER_BYTES, 0)
        begin, log_size = (
            int.from_bytes(header[at : at + _NUMBER_BYTES], "little") for at in (0, _NUMBER_BYTES)
        )
        if not begin or begin >= os.fstat(self._fd).st_size:
            return None
        path, stream, _ = header[2 * _NUMBER_BYTES :].split(b"\0", 2)
        return os.fsdecode(path), log_size, stream, os.pread(self._fd, self._end - begin, begin)

    def take(self, pipe: int, most: int, log: str, log_size: int, stream: bytes) -> bytes:
        """What is in the pipe; empty at its end. BlockingIOError when there is nothing now."""
        if self._end > _LONGEST_BYTES:
            self._end = _HEADER_BYTES
            os.ftruncate(self._fd, _HEADER_BYTES)  # `done` was said: what the header means is no more there
        rest = log_size.to_bytes(_NUMBER_BYTES, "little") + os.fsencode(log) + b"\0" + stream + b"\0"
        os.pwrite(self._fd, self._end.to_bytes(_NUMBER_BYTES, "little") + rest, 0)
        count = os.splice(pipe, self._fd, most, offset_dst=self._end, flags=os.SPLICE_F_NONBLOCK)
        chunk = os.pread(self._fd, count, self._end) if count else b""
        self._end += count
        return chunk

    def done(self) -> None:
        """The chunk is in the log, or given up."""
        os.pwrite(self._fd, self._end.to_bytes(_NUMBER_BYTES, "little"), 0)
