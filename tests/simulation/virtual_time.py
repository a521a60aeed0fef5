"""Time that passes only when nobody has anything to do: minutes of a cluster in a blink, always the same."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

TURN_SECONDS = 1e-6
"""What one turn of the loop takes. Were it nothing, a wait shorter than a clock's grain would never end."""
MOST_TURNS_PER_SECOND = 100_000
"""More turns than that within one simulated second is somebody who waits in a circle."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Where another loop would sleep, this one sets its clock forward."""

    def __init__(self) -> None:
        self._now = 0.0
        self._second = 0
        self._turns = 0
        super().__init__(_NeverSleeps(self._pass))

    def time(self) -> float:
        return self._now

    def _pass(self, seconds: float | None) -> None:
        if seconds is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self._now += max(seconds, 0.0) + TURN_SECONDS
        self._turns += 1
        if int(self._now) != self._second:
            self._second, self._turns = int(self._now), 0
        if self._turns > MOST_TURNS_PER_SECOND:
            raise RuntimeError(f"somebody waits in a circle at {self._now:.3f}s")


class _NeverSleeps(selectors.SelectSelector):
    """No file is ever waited for here."""

    def __init__(self, passing: Callable[[float | None], None]) -> None:
        super().__init__()
        self._passing = passing

    def select(self, timeout: float | None = None) -> list[Any]:
        self._passing(timeout)
        return []


class VirtualClock:
    """The control plane's `loop.clock.Clock`."""

    START = 1_000_000.0
    """Seconds since 1970 when a simulation begins; 0 means "never" in some values."""

    def now(self) -> float:
        return self.START + self.steady()

    def steady(self) -> float:
        return asyncio.get_running_loop().time()


def run(play: Coroutine[Any, Any, T]) -> T:
    """The whole of it, from second 0. What goes wrong in a task that nobody looks at goes wrong here."""
    unseen: list[BaseException] = []

    def note(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        unseen.append(context.get("exception") or RuntimeError(str(context["message"])))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.get_loop().set_exception_handler(note)
        result = runner.run(play)
    if unseen:
        raise unseen[0]
    return result
