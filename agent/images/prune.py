"""Which images may go (pure)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


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
