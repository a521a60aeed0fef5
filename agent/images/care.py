"""Room on the disk: images that nobody needs go, by age, and when the disk is full beyond a mark.

What a task of the node has, or a revision within the history limit may have again, is needed. Beyond the high
mark the others go, the longest unused first, until the disk is below the low mark.
"""

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.images import prune
from agent.images.library import Library

YOUNGEST_SECONDS = 120.0
"""An image was pulled for something: it is let alone for so long, however full the disk."""

BROKEN_OFF_SECONDS = 3600.0
"""Layers of a pull that did not come to its end wait for so long for the next attempt."""


@dataclass(frozen=True, slots=True)
class Marks:
    """When images go. The kubelet's marks."""

    high: float = 0.85
    """Part of the disk in use beyond which room is made."""
    low: float = 0.80
    """Part of the disk in use at which that ends."""
    age_seconds: float = 14 * 86400.0
    """Unused for so long an image goes in any case; 0: never."""


@dataclass(frozen=True, slots=True)
class Freed:
    """What went: manifest digests with a name each, and bytes of layers that went with them."""

    images: tuple[str, ...]
    bytes: int

    def __str__(self) -> str:
        some = ", ".join(self.images[:3]) + (f" and {len(self.images) - 3} more" if self.images[3:] else "")
        count = f"{len(self.images)} image{'s' if self.images[1:] else ''}"
        return f"removed {count} that nothing needs, {self.bytes / 1e6:.0f} MB of layers: {some}"


def used_part(directory: Path) -> float:
    """Of the disk that the directory lies on."""
    found = shutil.disk_usage(directory)
    return found.used / (found.used + found.free) if found.used + found.free else 0.0


def tidy(
    library: Library,
    in_use: Collection[str],
    marks: Marks,
    used: Callable[[], float],
    now: float | None = None,
) -> Freed:
    """Waits for the disk: call it in a thread. `in_use` are manifest digests."""
    now = time.time() if now is None else now
    before = {layer.diff_id: layer.size for layer in library.layers}
    for digest in in_use:
        library.touch(digest)
    old = _unused(library, in_use, now, marks.age_seconds) if marks.age_seconds else ()
    gone = [_remove(library, digest) for digest in old]
    if used() > marks.high:
        for digest in _unused(library, in_use, now, YOUNGEST_SECONDS):
            if used() <= marks.low:
                break
            gone.append(_remove(library, digest))
    library.remove_unused_layers(BROKEN_OFF_SECONDS)
    left = {layer.diff_id for layer in library.layers}
    return Freed(tuple(gone), sum(size for diff_id, size in before.items() if diff_id not in left))


def _unused(library: Library, in_use: Collection[str], now: float, older_than: float) -> Iterator[str]:
    """The longest unused first; what was used again meanwhile is passed over."""
    candidates = [prune.Candidate(each.digest, library.used_at(each.digest)) for each in library.images]
    for digest in prune.removable(candidates, in_use, now, older_than):
        if now - library.used_at(digest) >= older_than:
            yield digest


def _remove(library: Library, digest: str) -> str:
    """Answers a name of it: a tag where it has one."""
    names = sorted(library.references_of(digest), key=lambda name: "@" in name)
    library.remove(digest)
    name, pinned, _ = names[0].partition("@") if names else (digest[:19], "", "")
    return f"{name}@{digest[7:19]}" if pinned else name
