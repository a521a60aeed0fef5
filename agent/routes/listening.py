"""Reads what the proxy says of requests out of its pipe, many at a time."""

import asyncio
import contextlib
import os
from pathlib import Path

from agent.routes.requests import Tally

REST_SECONDS = 0.1
"""Between two looks: a line at a time would be a look for each request."""
AT_ONCE_BYTES = 1 << 18


class Listener:
    """`begin` when the pipe is there; it holds both ends, so what was said before is kept, and no end is seen."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._pipe = -1
        self._rest: asyncio.TimerHandle | None = None

    def begin(self, pipe: Path) -> None:
        """Idempotent."""
        if self._pipe < 0:
            with contextlib.suppress(FileNotFoundError):
                self._pipe = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                self._wait()

    def close(self) -> None:
        """What is said from now on is kept in the pipe, as far as that goes."""
        if self._rest is not None:
            self._rest.cancel()
        if self._pipe >= 0:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    def read(self) -> None:
        """All that is there now."""
        if self._pipe < 0:
            return
        with contextlib.suppress(BlockingIOError):
            while len(data := os.read(self._pipe, AT_ONCE_BYTES)) > 0:
                self.tally.take(data)
                if len(data) < AT_ONCE_BYTES:
                    break

    def _wait(self) -> None:
        asyncio.get_running_loop().add_reader(self._pipe, self._come)

    def _come(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pipe)
        self.read()
        self._rest = loop.call_later(REST_SECONDS, self._wait)
