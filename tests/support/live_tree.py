"""A directory that somebody is working in, while a test looks."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def files(directory: Path) -> Iterator[Path]:
    """The regular files below it; a directory that goes meanwhile is passed over, where `Path.rglob` would fail."""
    for where, _, names in os.walk(directory):
        for name in names:
            path = Path(where, name)
            if path.is_file() and not path.is_symlink():
                yield path


def contents(directory: Path) -> Iterator[tuple[Path, bytes]]:
    """Of each of its files that is still there when it is read."""
    for path in files(directory):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.read_bytes()
