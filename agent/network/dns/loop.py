"""A loop that waits for sockets and moments: what orch-dns needs of asyncio, in a hundredth of its memory."""

import heapq
import selectors
import sys
import time
from collections.abc import Callable
from socket import socket

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
TOLD_FAULTS = 100
"""A log that hostile packets could fill would be a way to fill a disk."""


class Moment:
    """Something that is to be done later, unless it is cancelled before."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Idempotent."""
        self.action = None


class Loop:
    """One thread, one turn after the other; no action may wait."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self._selector = selectors.DefaultSelector()
        self._moments: list[tuple[float, int, Moment]] = []
        self._count = 0
        self._spare: Callable[[], bool] | None = None
        self._faults = 0
        self.ended = False

    def watch(self, source: socket, action: Callable[[], None], events: int = READ) -> None:
        """`action` is called whenever the socket is ready; replaces what was said of it before."""
        if source in self._selector.get_map():
            self._selector.modify(source, events, action)
        else:
            self._selector.register(source, events, action)

    def leave(self, source: socket) -> None:
        """Watch it no longer; idempotent."""
        if self.is_watching(source):
            self._selector.unregister(source)

    def is_watching(self, source: socket) -> bool:
        """Whether something happens when the socket is ready."""
        return source.fileno() >= 0 and source in self._selector.get_map()

    def after(self, seconds: float, action: Callable[[], None]) -> Moment:
        """Once, from now on the monotonic clock."""
        moment = Moment(action)
        self._count += 1
        heapq.heappush(self._moments, (time.monotonic() + seconds, self._count, moment))
        return moment

    def in_between(self, step: Callable[[], bool]) -> None:
        """A long work in short steps, each after who waits was served; until a step says that it was the last."""
        self._spare = step

    def run(self) -> None:
        """Until `ended`."""
        while not self.ended:
            for key, _ in self._selector.select(self._patience()):
                if self._selector.get_map().get(key.fd) is key:  # and no other action of this turn closed it
                    self._do(key.data)
            self._do_due()
            if self._spare is not None:
                self._do_spare(self._spare)

    def _patience(self) -> float | None:
        while self._moments and self._moments[0][2].action is None:
            heapq.heappop(self._moments)
        if self._spare is not None:
            return 0.0
        return max(0.0, self._moments[0][0] - time.monotonic()) if self._moments else None

    def _do_due(self) -> None:
        now = time.monotonic()
        while self._moments and self._moments[0][0] <= now:
            action = heapq.heappop(self._moments)[2].action
            if action is not None:
                self._do(action)

    def _do_spare(self, step: Callable[[], bool]) -> None:
        is_done = True
        try:
            is_done = step()
        except Exception as fault:
            self._tell(fault)
        if is_done and self._spare is step:
            self._spare = None

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as fault:
            self._tell(fault)

    def _tell(self, fault: Exception) -> None:
        self._faults += 1
        if self._faults <= TOLD_FAULTS:
            where = fault.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "?"
            sys.stderr.write(f"orch-dns: a fault of its own at {place}: {fault!r}\n")
            sys.stderr.flush()
