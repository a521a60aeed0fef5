"""The agent's time: starts as the wall clock and then only goes forward, whatever that does."""

import time

_wall = time.time()
_began = time.monotonic()


def now() -> float:
    """Seconds since 1970, never going back and never jumping."""
    return _wall + time.monotonic() - _began
