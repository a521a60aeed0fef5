"""What some files are, as one digest: their names, modes and contents, whatever their times and owners."""

import hashlib
import os
import stat
from collections.abc import Sequence
from typing import Any

from agent.builds import sources
from agent.builds.sources import Source
from orch.dockerfile import ignore
from orch.dockerfile.ignore import Ignore


def of_context(
    directory: str, ignored: Sequence[str], patterns: Sequence[str], exclude: Sequence[str]
) -> str:
    """Of what the patterns mean in a build's context. Links lead nowhere out of it. Raises CannotPlace."""
    root = os.open(directory, sources.DIRECTORY)
    try:
        source = Source(root, ignore.read("\n".join(ignored)), keeps_owners=False)
        return of(source, patterns, ignore.read("\n".join(exclude)))
    finally:
        os.close(root)


def of(source: Source, patterns: Sequence[str], exclude: Ignore) -> str:
    """Raises CannotPlace."""
    total = hashlib.sha256()
    for one in sources.find(source, patterns):
        _add(total, source, one.path, exclude)
    return total.hexdigest()


def _add(total: Any, source: Source, path: str, exclude: Ignore) -> None:
    about = sources.look(source, path)
    if about is None:
        return
    total.update(f"{path}\0{about.st_mode:o}\0".encode())
    if stat.S_ISREG(about.st_mode):
        with os.fdopen(sources.open_in(source, path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    if not stat.S_ISDIR(about.st_mode):
        return
    for name, member in sources.members(source, path):
        inner = f"{path}/{name}".lstrip("/")
        if source.ignored.leaves_out(inner) or exclude.leaves_out(inner):
            continue
        if stat.S_ISLNK(member.st_mode):
            total.update(f"{inner}\0{sources.link_target(source, inner)}\0".encode())
        else:
            _add(total, source, inner, exclude)
