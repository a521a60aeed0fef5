"""Which images may go, and their going."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agent.images.library import Library


@dataclass(frozen=True, slots=True)
class Candidate:
    digest: str
    used_at: float
    """Seconds since 1970."""


def removable(
    images: Sequence[Candidate], in_use: Collection[str], now: float, older_than: float
) -> list[str]:
    """Images that nothing runs and nothing ran for `older_than` seconds, the longest unused first."""
    old = [image for image in images if image.digest not in in_use and now - image.used_at >= older_than]
    return [image.digest for image in sorted(old, key=lambda image: (image.used_at, image.digest))]


def prune(library: Library, in_use: Collection[str], older_than: float) -> list[str]:
    """Removes what may go, remembers what is in use, answers the digests removed."""
    now = time.time()
    for digest in in_use:
        library.touch(digest)
    candidates = [Candidate(stored.digest, library.used_at(stored.digest)) for stored in library.images]
    gone = removable(candidates, in_use, now, older_than)
    for digest in gone:
        library.remove(digest)
    library.remove_unused_layers()
    return gone
