"""The ends of containers on the agent's side: who waits for one, and who has been told."""

import asyncio
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from agent.runtime import exits
from agent.runtime.container import Exited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Ends:
    def __init__(self, on_exit: Callable[[Exited], None], acknowledge: Callable[[str], None]) -> None:
        self._on_exit = on_exit
        self._acknowledge = acknowledge
        self._waiters: dict[str, list[asyncio.Future[Exited]]] = {}
        self._told: set[str] = set()

    @contextmanager
    def awaited(self, container: str) -> "Iterator[asyncio.Future[Exited]]":
        """Its end, from this moment on."""
        future: asyncio.Future[Exited] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(container, []).append(future)
        try:
            yield future
        finally:
            self._waiters[container].remove(future)
            if not self._waiters[container]:
                del self._waiters[container]

    def come(self, entry: dict[str, Any]) -> None:
        """Tell it once, then say so to the shim; a crash in between tells it again, never not at all."""
        name = entry["container"]
        ended = exited(entry)
        for future in self._waiters.get(name, []):
            if not future.done():
                future.set_result(ended)
        if entry["acknowledged"] or name in self._told:
            return
        self._on_exit(ended)
        self._told.add(name)
        self._acknowledge(name)

    def forget(self, container: str) -> None:
        """It has been removed."""
        self._told.discard(container)


def exited(entry: dict[str, Any]) -> Exited:
    code, signum = exits.split(entry["status"])
    return Exited(entry["container"], entry["pid"], code, signum, entry["oom_killed"], entry["at"])
