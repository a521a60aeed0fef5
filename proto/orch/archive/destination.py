"""Where a copy goes: the rules of `docker cp`, the same on both sides (pure)."""

import posixpath
from dataclasses import dataclass
from typing import Literal

from orch.archive.failure import CopyFailed

There = Literal["directory", "file", "nothing"]


@dataclass(frozen=True, slots=True)
class Source:
    """What is copied, as it was written."""

    path: str
    contents: bool
    """It ended in `/.`: not the directory itself, but what is in it."""


@dataclass(frozen=True, slots=True)
class Goal:
    """The directory to open, and what becomes of the outermost name."""

    directory: str
    rename: str | None
    takes_directory: bool = True
    takes_file: bool = True


def source(path: str) -> Source:
    return Source(path, path.endswith("/.") or path == ".")


def name_of(path: str) -> str:
    """The outermost name in the stream."""
    name = posixpath.basename(posixpath.normpath(path))
    return name if name not in {"", ".", ".."} else "root"


def goal(path: str, there: There, *, contents: bool, as_is: bool) -> Goal:
    """Raises CopyFailed."""
    bare = path.rstrip("/") or "/"
    if as_is:
        if there != "directory":
            raise CopyFailed(f"{path}: a tar from stdin is unpacked in a directory, and there is none")
        return Goal(bare, None)
    match there:
        case "directory":
            return Goal(bare, "" if contents else None, takes_file=not contents)
        case "file":
            if path.endswith("/"):
                raise CopyFailed(f"{path} is a file, no directory: leave out the last /")
            return Goal(posixpath.dirname(bare) or ".", posixpath.basename(bare), takes_directory=False)
        case "nothing":
            is_directory = path.endswith("/")
            return Goal(posixpath.dirname(bare) or ".", posixpath.basename(bare), takes_file=not is_directory)
