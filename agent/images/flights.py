"""Two who want the same thing share one effort.

Each is told of the progress; when the last of them gives up, the effort is cancelled.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


@dataclass(slots=True)
class _Flight(Generic[Result]):
    task: asyncio.Task[Result]
    listeners: list[Progress] = field(default_factory=list)
    waiting: int = 0
    latest: tuple[int, int] | None = None

    def report(self, done: int, total: int) -> None:
        self.latest = (done, total)
        for listener in self.listeners:
            listener(done, total)


class Flights(Generic[Key, Result]):
    """Efforts under way, by what they are for."""

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Result]] = {}

    async def join(
        self, key: Key, start: Callable[[Progress], Coroutine[None, None, Result]], on_progress: Progress
    ) -> Result:
        """The result of the effort for `key`, started by `start` unless it is under way already."""
        flight = self._flights.get(key) or self._take_off(key, start)
        flight.listeners.append(on_progress)
        flight.waiting += 1
        if flight.latest:
            on_progress(*flight.latest)
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(on_progress)
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._landed(key, flight)
                flight.task.cancel()

    async def cancel_all(self) -> None:
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take_off(
        self, key: Key, start: Callable[[Progress], Coroutine[None, None, Result]]
    ) -> _Flight[Result]:
        async def fly() -> Result:
            return await start(flight.report)

        flight: _Flight[Result] = _Flight(asyncio.create_task(fly()))
        self._flights[key] = flight

        def landed(task: asyncio.Task[Result]) -> None:
            self._landed(key, flight)
            if not task.cancelled():
                task.exception()  # seen, also where everybody who waited has left

        flight.task.add_done_callback(landed)
        return flight

    def _landed(self, key: Key, flight: _Flight[Result]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
