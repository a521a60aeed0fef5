"""A second process in a running container, as the agent sees it."""

import asyncio
import fcntl
import os
import struct
from collections.abc import Awaitable, Callable

from agent.linux import constants as c
from agent.runtime import exits

_BY_SIGNAL = 128


class Entered:
    def __init__(self, pid: int, terminal: int | None, send: Callable[[int, int], Awaitable[None]]) -> None:
        self.pid = pid
        self.terminal = terminal
        """The master of its terminal, ours to read, write and close; None without one."""
        self._send = send
        self._end: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int | None:
        """Exit code, or 128 and the signal, as shells count; None when the shim went away before its end."""
        return await asyncio.shield(self._end)

    async def signal(self, signum: int) -> None:
        await self._send(self.pid, signum)

    def resize(self, rows: int, columns: int) -> None:
        if self.terminal is not None:
            fcntl.ioctl(self.terminal, c.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close_terminal(self) -> None:
        """Hang up: the process gets SIGHUP."""
        if self.terminal is not None:
            os.close(self.terminal)
            self.terminal = None

    def left(self, status: int | None) -> None:
        """Told once, by the runtime."""
        if self._end.done():
            return
        code, signum = exits.split(status)
        self._end.set_result(_BY_SIGNAL + signum if signum else code)
