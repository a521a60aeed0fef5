"""What is here of tasks that nobody asks for: looked for when told, and removed behind the scenes."""

import asyncio
import logging
import shutil
import signal
from collections.abc import Awaitable, Callable, Collection
from functools import partial

from agent.reconciler import adopt
from agent.reconciler.rooms import Rooms
from agent.runtime.container import Running

_log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
"""For containers of which nobody knows any more how they want to be stopped."""

CleanUp = Callable[[str, tuple[str, ...]], Awaitable[None]]
"""Of the task with this key and these runs; idempotent."""


class Leftovers:
    def __init__(self, rooms: Rooms, clean_up: CleanUp) -> None:
        self._rooms = rooms
        self._clean_up = clean_up
        self.going: dict[str, asyncio.Task[None]] = {}
        """By the task's key."""

    async def remove(self, asked: Collection[str]) -> None:
        """All but what is asked for. Begins it, and does not wait for its end."""
        found = adopt.by_task(await self._rooms.runtime.containers())
        attached = self._rooms.network.attached() if self._rooms.network else {}
        logs = (path.name for path in self._rooms.logs.iterdir())
        seen = {*found, *attached, *self._rooms.files.tasks(), *self._rooms.volumes.tasks(), *logs}
        for key in seen - set(asked) - set(self.going) - set(self._rooms.others):
            _log.warning("removing what is left of task %s, which nobody asks for", key)
            task = asyncio.create_task(self._remove(key, found.get(key, {})))
            self.going[key] = task
            task.add_done_callback(partial(self._removed, key))

    async def close(self) -> None:
        """What is still there stays."""
        for task in self.going.values():
            task.cancel()
        await asyncio.gather(*self.going.values(), return_exceptions=True)

    async def _remove(self, key: str, found: adopt.Found) -> None:
        stops = (
            self._rooms.runtime.stop(str(run), signum=signal.SIGTERM, grace_seconds=GRACE_SECONDS)
            for run, state in found.items()
            if isinstance(state, Running)
        )
        await asyncio.gather(*stops, return_exceptions=True)
        await self._clean_up(key, tuple(map(str, found)))

    def _removed(self, key: str, done: asyncio.Task[None]) -> None:
        self.going.pop(key, None)
        shutil.rmtree(self._rooms.logs / key, ignore_errors=True)
        if not done.cancelled() and (error := done.exception()):
            _log.error("what is left of task %s cannot be removed: %s", key, error)
