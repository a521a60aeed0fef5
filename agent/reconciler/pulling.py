"""How far the pull of an image is, said now and then and never for every piece."""

import time
from collections.abc import Callable

from agent.reconciler import observed

FIRST_SECONDS = 0.2
"""A pull that is over sooner says nothing."""
EVERY_SECONDS = 1.0

_MEGABYTE = 1_000_000


class Said:
    """Takes every word of a pull, and passes a few on."""

    def __init__(
        self,
        reference: str,
        tell: Callable[[observed.Pulling], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reference = reference
        self._tell = tell
        self._clock = clock
        self._next = clock() + FIRST_SECONDS

    def at(self, done: int, total: int) -> None:
        """So many bytes of so many are here."""
        now = self._clock()
        if now >= self._next:
            self._next = now + EVERY_SECONDS
            self._tell(observed.Pulling(self._reference, done, total))


def sentence(progress: observed.Pulling) -> str:
    """`pulling 63 % (41/65 MB)`."""
    if not progress.total:
        return "pulling"
    percent = min(100, progress.done * 100 // progress.total)
    return f"pulling {percent} % ({_megabytes(progress.done)}/{_megabytes(progress.total)} MB)"


def _megabytes(count: int) -> str:
    return f"{count / _MEGABYTE:.0f}" if count >= 10 * _MEGABYTE else f"{count / _MEGABYTE:.1f}"
