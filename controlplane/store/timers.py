"""Time as the store's rooms need it: a clock that only goes forward, and callbacks at an instant.

A running asyncio event loop is one (`asyncio.get_running_loop()`); `ManualTimers` is one that tests and the
simulation move by hand.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from functools import partial
from typing import Protocol


class Timer(Protocol):
    """A callback that has not run yet."""

    def cancel(self) -> None:
        """Never run it."""


class Timers(Protocol):
    """Seconds on a monotonic clock, and callbacks on it."""

    def time(self) -> float:
        """Now."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Run the callback at that instant, or at once if it has passed."""


async def sleep_until(timers: Timers, when: float) -> None:
    """Wait for an instant of that clock."""
    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = timers.call_at(when, partial(_settle, reached))
    try:
        await reached
    finally:
        timer.cancel()


def _settle(reached: asyncio.Future[None]) -> None:
    if not reached.done():
        reached.set_result(None)


class ManualTimers:
    """A clock that stands still until `advance`."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._due: list[tuple[float, int, _ManualTimer]] = []

    def time(self) -> float:
        """Now."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Run the callback in the `advance` that reaches `when`."""
        timer = _ManualTimer(callback)
        heapq.heappush(self._due, (when, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass; callbacks run in order, each at its own instant."""
        end = self._now + seconds
        while self._due and self._due[0][0] <= end:
            when, _, timer = heapq.heappop(self._due)
            self._now = max(self._now, when)
            timer.run()
        self._now = end


class _ManualTimer:
    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def run(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
