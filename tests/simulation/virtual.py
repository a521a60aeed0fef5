"""An event loop whose time passes only when nobody has anything to do: hours of a cluster in a blink."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

TURN_SECONDS = 1e-6
"""What one turn of the loop takes; else a wait shorter than a clock's grain would never end."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Where a real loop would sleep, this one sets its clock forward."""

    def __init__(self) -> None:
        self._virtual = 0.0
        super().__init__(_Jumping(self._jump))

    def time(self) -> float:
        return self._virtual

    def _jump(self, seconds: float | None) -> None:
        if seconds is None:
            raise RuntimeError("everybody waits, and nothing is ever going to happen")
        self._virtual += seconds + TURN_SECONDS


class _Jumping(selectors.SelectSelector):
    def __init__(self, jump: Any) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[Any]:
        self._jump(timeout)
        return super().select(0)


class VirtualClock:
    """`controlplane.loop.clock.Clock` on the running loop; the year does not matter."""

    START = 1_000_000.0

    def now(self) -> float:
        return self.START + self.steady()

    def steady(self) -> float:
        return asyncio.get_running_loop().time()


def run(play: Coroutine[Any, Any, None]) -> None:
    """The whole play, from second 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play)
