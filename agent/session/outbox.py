"""Statuses on their way up: the latest word on each task, kept until the control plane has stored it."""

import asyncio

from orch.model.names import TaskId
from orch.model.task import TaskState, TaskStatus

LINGER_SECONDS = 0.2
"""A step on the way (preparing, starting, stopping) is told only when it lasts: mostly the next is faster."""
_ON_THE_WAY = {TaskState.PREPARING, TaskState.STARTING, TaskState.STOPPING}


class Outbox:
    def __init__(self) -> None:
        self._waiting: dict[TaskId, TaskStatus] = {}
        self._sent: dict[int, list[TaskStatus]] = {}
        self._sequence = 0
        self._filled = asyncio.Event()
        self._all_stored = asyncio.Event()
        self._all_stored.set()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, status: TaskStatus) -> None:
        """Sent at once, in one batch with whatever else waits by then."""
        self._waiting[status.id] = status
        if status.state in _ON_THE_WAY and not status.reason:
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(LINGER_SECONDS, self._filled.set)
        else:
            self._filled.set()

    async def wait_filled(self) -> None:
        """Until there is something to send now."""
        await self._filled.wait()

    def take(self) -> tuple[int, list[TaskStatus]]:
        """A batch and its sequence; it stays here until it is stored."""
        self._filled.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch = list(self._waiting.values())
        self._waiting.clear()
        self._sequence += 1
        if batch:
            self._sent[self._sequence] = batch
            self._all_stored.clear()
        return self._sequence, batch

    def stored(self, sequence: int) -> None:
        """All batches up to this one are stored."""
        for each in [number for number in self._sent if number <= sequence]:
            del self._sent[each]
        if not self._sent:
            self._all_stored.set()

    async def wait_stored(self) -> None:
        """Until nothing is on its way. Meanwhile later words on a task replace earlier ones."""
        await self._all_stored.wait()

    def begin_anew(self) -> None:
        """A new conversation: what was not stored is sent again, unless there is a newer word."""
        for number in sorted(self._sent, reverse=True):
            for status in self._sent[number]:
                self._waiting.setdefault(status.id, status)
        self._sent.clear()
        self._all_stored.set()
        if self._waiting:
            self._filled.set()
