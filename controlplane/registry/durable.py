"""What was acknowledged is on the disk: an object store sees to that by itself, files wait in the page cache."""

import asyncio
import os
from pathlib import Path

from obstore.store import LocalStore, ObjectStore


async def flush(store: ObjectStore, place: str) -> None:
    """Content and name, as far as that is ours to do."""
    if isinstance(store, LocalStore) and store.prefix:
        await asyncio.to_thread(_sync, Path(store.prefix), place)


def _sync(root: Path, place: str) -> None:
    """The file, and every directory on the way to it, which may be as new."""
    for each in (root / place, *(root / above for above in Path(place).parents)):
        fd = os.open(each, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
