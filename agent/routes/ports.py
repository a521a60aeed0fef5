"""Who listens on a port of this node."""

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

_LISTENING = "0A"


def holder(port: int, own: Collection[int]) -> str:
    """The process that has it, by name and pid; empty when it is free, or one of `own` has it."""
    inodes = _listening(port)
    if not inodes:
        return ""
    for pid, inode in _sockets():
        if inode in inodes:
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                return "" if int(pid) in own else f"{name} (pid {pid})"
    return "a process of another namespace"


def _listening(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                    found.add(words[9])
    return found


def _sockets() -> "list[tuple[str, str]]":
    """(pid, inode) of every socket that is open."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                for handle in os.scandir(f"{entry.path}/fd"):
                    with contextlib.suppress(OSError):
                        to = str(Path(handle.path).readlink())
                        if to.startswith("socket:["):
                            found.append((entry.name, to[8:-1]))
    return found
