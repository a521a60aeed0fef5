"""The loop of shim and logger: descriptors that become ready, and timers. One thread, nothing else."""

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Handler: TypeAlias = "Callable[[int], None]"


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self.stopped = False

    def watch(self, fd: int, handler: "Handler", events: int = select.EPOLLIN) -> None:
        """Call the handler with the events that are there, as long as they are."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Before the descriptor is closed."""
        if self._handlers.pop(fd, None):
            self._epoll.unregister(fd)

    def later(self, seconds: float, action: "Callable[[], None]") -> None:
        self._timers.append((time.monotonic() + seconds, action))

    def run(self) -> None:
        while not self.stopped:
            self.turn()

    def turn(self) -> None:
        """Wait for what comes next and handle it."""
        for fd, events in self._epoll.poll(self._seconds_to_wait()):
            if handler := self._handlers.get(fd):
                handler(events)
        self._ring()

    def _seconds_to_wait(self) -> float:
        if not self._timers:
            return -1
        return max(min(at for at, _ in self._timers) - time.monotonic(), 0)

    def _ring(self) -> None:
        if not self._timers:
            return
        now = time.monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for _, action in due:
            action()
