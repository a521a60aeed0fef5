"""Second processes in containers on the agent's side: asked for, told about, given up."""

import asyncio
import contextlib
import os
import signal
from typing import Any

from agent.runtime import line, refusals
from agent.runtime.container import NoSuchContainer
from agent.runtime.entered import Entered

_Given = tuple[int | None, int | None, int | None]


class Visits:
    def __init__(self, line: "line.Line") -> None:
        self._line = line
        self._entered: dict[int, Entered] = {}
        self._early: dict[int, int] = {}

    async def enter(self, container: str, process: dict[str, Any], given: _Given) -> Entered:
        """Its descriptors 0, 1 and 2 are given, or none. Who is cancelled meanwhile leaves no process behind."""
        entering = asyncio.create_task(self._enter(container, process, given))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            self._line.in_background(self._abandon(entering))
            raise

    def lost(self) -> None:
        """The children of a shim that has died are not told about any more."""
        for entered in self._entered.values():
            entered.left(None)
        self._entered.clear()

    def left(self, pid: int, status: int) -> None:
        entered = self._entered.pop(pid, None)
        if entered:
            entered.left(status)
        else:
            self._early[pid] = status

    async def _enter(self, container: str, process: dict[str, Any], given: _Given) -> Entered:
        """With descriptors of our own: whoever gave them may be cancelled, and close them, before they are sent."""
        fds = tuple(os.open(os.devnull, os.O_RDWR) if fd is None else os.dup(fd) for fd in given)
        try:
            answer, received = await self._line.ask_once(
                fds, op="enter", container=container, process=process
            )
        finally:
            for fd in fds:
                os.close(fd)
        if "missing" in answer:
            raise NoSuchContainer(container)
        refusals.raise_for(answer)
        entered = Entered(answer["pid"], received[0] if received else None, self._signal_entered)
        self._entered[entered.pid] = entered
        if entered.pid in self._early:
            self.left(entered.pid, self._early.pop(entered.pid))
        return entered

    async def _abandon(self, entering: asyncio.Task[Entered]) -> None:
        """Nobody waits for this process any more: it ends as soon as it is there."""
        with contextlib.suppress(Exception):
            entered = await entering
            entered.close_terminal()
            await entered.signal(signal.SIGKILL)
            await entered.wait()

    async def _signal_entered(self, pid: int, signum: int) -> None:
        await self._line.ask(op="signal_entered", process=pid, signum=int(signum))
