"""The devices of this node, as a configuration asks for them: what a privileged container is given."""

import os
import stat
from collections.abc import Iterator
from typing import Any

_ITS_OWN = frozenset(
    ["pts", "shm", "mqueue", "fd", "console", "ptmx", "null", "zero", "full", "random", "urandom", "tty"]
)
"""What every container has in its own way, and directories of other file systems."""


def found(directory: str = "/dev") -> list[dict[str, Any]]:
    """Rows of `linux.devices`; links are left out, as Docker leaves them out."""
    return list(_below(directory, _ITS_OWN))


def _below(directory: str, left_out: frozenset[str] = frozenset()) -> Iterator[dict[str, Any]]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.name not in left_out)
    except OSError:  # gone meanwhile, or not for us
        return
    for name in names:
        path = f"{directory}/{name}"
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _below(path)
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            yield {
                "path": path,
                "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
                "major": os.major(status.st_rdev),
                "minor": os.minor(status.st_rdev),
                "fileMode": stat.S_IMODE(status.st_mode),
                "uid": status.st_uid,
                "gid": status.st_gid,
            }
