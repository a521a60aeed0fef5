"""Threads that work ahead: one reads and hashes a stream, the next decompresses it, while another writes files.

They are there before the process shuts itself in, which may start no thread any more, and begin afterwards.
"""

import queue
import sys
import threading
from collections.abc import Iterator

_MOST = 8
"""Items that may lie between two threads: 2 MiB of a layer."""
_SWITCH_SECONDS = 0.0005
"""Ten times as often as Python by itself: whoever comes back from the other side's work has little to do."""


class Ahead:
    """Takes the items of so many iterators before they are asked for, each in a thread of its own."""

    def __init__(self, iterators: int) -> None:
        self._idle = [_Thread() for _ in range(iterators)]
        sys.setswitchinterval(_SWITCH_SECONDS)

    def of(self, source: Iterator[bytes]) -> Iterator[bytes]:
        """The same items, and what it raised."""
        return self._idle.pop().of(source)


class _Thread:
    def __init__(self) -> None:
        self._source: queue.SimpleQueue[Iterator[bytes]] = queue.SimpleQueue()
        self._items: queue.Queue[bytes | BaseException | None] = queue.Queue(_MOST)
        threading.Thread(target=self._run, daemon=True).start()

    def of(self, source: Iterator[bytes]) -> Iterator[bytes]:
        self._source.put(source)
        while (item := self._items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _run(self) -> None:
        try:
            for item in self._source.get():
                self._items.put(item)
        except BaseException as problem:
            self._items.put(problem)
        self._items.put(None)
