"""The files a build may use: a directory → a tar archive, without what .dockerignore leaves out."""

import os
import tarfile
from pathlib import Path
from typing import IO

from orch.dockerfile.ignore import Ignore


def pack(directory: Path, ignored: Ignore, archive: IO[bytes]) -> int:
    """Writes the archive; answers how many files and links it holds. Owners stay at home: all is root's."""
    count = 0
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in _members(directory, "", ignored):
            entry = tar.gettarinfo(path, name)
            if entry is None:
                continue  # a socket
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            if entry.isreg():
                with path.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)
            count += not entry.isdir()
    return count


def ignored_in(directory: Path, dockerfile: Path) -> str:
    """The text of the .dockerignore that counts: one beside the Dockerfile with its name goes first."""
    for path in (dockerfile.with_name(f"{dockerfile.name}.dockerignore"), directory / ".dockerignore"):
        if path.is_file():
            return path.read_text()
    return ""


def _members(directory: Path, above: str, ignored: Ignore) -> "list[tuple[str, Path]]":
    found: list[tuple[str, Path]] = []
    with os.scandir(directory) as entries:
        members = sorted(entries, key=lambda entry: entry.name)
    for entry in members:
        name = f"{above}{entry.name}"
        is_directory = entry.is_dir(follow_symlinks=False)
        left_out = ignored.leaves_out(name)
        if not left_out:
            found.append((name, Path(entry.path)))
        if is_directory and (not left_out or ignored.may_bring_back_below(name)):
            found += _members(Path(entry.path), f"{name}/", ignored)
    return found
