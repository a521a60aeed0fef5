"""Time, for the whole control plane: the only file that asks the machine for it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: what people read, and what only goes forward."""

    def now(self) -> float:
        """Seconds since 1970."""

    def steady(self) -> float:
        """Seconds that only go forward; for measuring how long something took."""


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def steady(self) -> float:
        """Seconds that only go forward."""
        return time.monotonic()
