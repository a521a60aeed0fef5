"""Small files of JSON that are there whole or not at all."""

import json
import os
from pathlib import Path

UNFINISHED = ".new"
"""What a file is called until it is whole; left behind only by a kill."""


def replace(path: Path, words: object, *, flush: bool = True, flush_name: bool = True) -> None:
    """Whole or not at all; with `flush` also after a power cut; without `flush_name` that may find the one before."""
    fresh = path.with_name(path.name + UNFINISHED)
    with fresh.open("w") as file:
        json.dump(words, file)
        file.flush()
        if flush:
            os.fsync(file.fileno())
    fresh.rename(path)
    if flush and flush_name:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def read(path: Path) -> dict[str, object]:
    """The words in a file of ours; none if it is missing or damaged."""
    try:
        words = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return words if isinstance(words, dict) else {}
