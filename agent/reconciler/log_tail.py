"""The last lines that a container wrote, from the end of its log file."""

import os
from pathlib import Path

MOST_BYTES = 64 << 10
MOST_LINE_CHARACTERS = 500


def read(directory: Path, run: str, lines: int) -> tuple[str, ...]:
    """At most `lines`; empty when there is no log. Lines are in the CRI's format: time, stream, F, text."""
    try:
        fd = os.open(directory / f"{run}.log", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ()
    try:
        size = os.fstat(fd).st_size
        begin = max(size - MOST_BYTES, 0)
        text = os.pread(fd, MOST_BYTES, begin).decode(errors="replace")
    finally:
        os.close(fd)
    rows = text.split("\n")[1 if begin else 0 :]
    return tuple(_text(row) for row in rows if row)[-lines:]


def _text(row: str) -> str:
    parts = row.split(" ", 3)
    return (parts[3] if len(parts) == 4 else row)[:MOST_LINE_CHARACTERS]


def forget_old(directory: Path, container: str, keep: frozenset[str]) -> None:
    """Removes the logs of all other runs of a container, given as the task's key and its name."""
    for path in directory.glob(f"{container}.*.log*"):
        run = path.name.partition(".log")[0]
        if run not in keep:
            path.unlink(missing_ok=True)
