"""Staying in touch with shim and logger: started where they are missing, asked again when they come back."""

import asyncio
import contextlib
import itertools
import logging
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from agent.runtime import spawn
from agent.runtime.channel import Channel, Disconnected

_RECONNECT_SECONDS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_QUIT_SECONDS = 10.0
ATTEMPTS = 3

_log = logging.getLogger(__name__)


class RuntimeBroken(RuntimeError):
    """Shim or logger cannot be started or does not obey; the message says which and where to look."""


class Line:
    def __init__(
        self,
        directories: tuple[Path, Path],
        cgroup_root: str,
        *,
        on_event: Callable[[dict[str, Any]], None],
        on_found: Callable[[list[dict[str, Any]]], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Of run and state directory.

        Told are what helpers say unasked, the containers of a shim that is new to us, and the end of a shim.
        """
        self._run_dir, state_dir = directories
        self._arguments = [*map(str, directories), cgroup_root]
        self._on_event = on_event
        self._on_found = on_found
        self._on_lost = on_lost
        self.errors = state_dir / "helpers.log"
        self.children: list[subprocess.Popen[bytes]] = []
        """The helpers that we have started."""
        self._shim: Channel | None = None
        self._logger: Channel | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting = asyncio.Lock()
        self._closing = False

    async def ask(self, **request: Any) -> dict[str, Any]:
        """For requests that may be asked twice: a shim that dies is replaced and asked again."""
        for _ in range(ATTEMPTS):
            try:
                return (await self.ask_once(**request))[0]
            except Disconnected:
                continue
        raise RuntimeBroken(f"orch-shim does not stay up; see {self.errors}")

    async def ask_once(self, fds: tuple[int, ...] = (), **request: Any) -> tuple[dict[str, Any], list[int]]:
        """The shim's answer with its descriptors; Disconnected when it dies meanwhile."""
        if not self._shim or not self._shim.is_open:
            await self.connect()
        assert self._shim
        return await self._shim.ask(fds, **request)

    async def connect(self) -> None:
        """To both; whichever is missing is started."""
        async with self._connecting:
            if self._closing:
                raise Disconnected("the runtime is closed")
            is_log_new = not self._logger or not self._logger.is_open
            if is_log_new:
                self._logger = self._dial("logger", "log", self._come_back)
            is_shim_new = not self._shim or not self._shim.is_open
            if is_shim_new:
                self._shim = self._dial("shim", "shim", self._shim_ended)
            assert self._shim
            if is_log_new:  # the shim may have been there before this logger
                await self._shim.ask(op="log")
            if not is_shim_new:
                return
            answer, _ = await self._shim.ask(op="list")
        self._on_found(answer["containers"])

    async def renew_logger(self) -> None:
        """What is said meanwhile waits in its pipes for the next one."""
        if self._logger:
            await _quit(self._logger)

    async def end(self) -> None:
        """Both helpers end, and nobody starts them again."""
        self._closing = True
        for channel in (self._shim, self._logger):
            if channel and channel.is_open:
                await _quit(channel)

    def close(self) -> None:
        """Go away; they stay."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        for channel in (self._shim, self._logger):
            if channel:
                channel.close()

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Until it is done or we are closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _dial(self, module: str, short: str, on_end: Callable[[], None]) -> Channel:
        """Connect to a helper that runs; start one where none does."""
        path = self._run_dir / f"{short}.sock"
        with contextlib.suppress(OSError):
            return Channel(path, self._on_event, on_end)
        self.children = [child for child in self.children if child.poll() is None]
        try:
            self.children.append(spawn.helper(module, f"orch-{short}", path, self.errors, self._arguments))
            return Channel(path, self._on_event, on_end)
        except OSError as error:
            raise RuntimeBroken(f"orch-{short} cannot be started: {error}; see {self.errors}") from error

    def _shim_ended(self) -> None:
        self._on_lost()
        self._come_back()

    def _come_back(self) -> None:
        if not self._closing:
            self.in_background(self._reconnect())

    async def _reconnect(self) -> None:
        """Until it has worked or we are closed: exits are told also when nobody asks."""
        for pause in itertools.chain(_RECONNECT_SECONDS, itertools.repeat(_RECONNECT_SECONDS[-1])):
            await asyncio.sleep(pause)
            if self._closing:
                return
            try:
                await self.connect()
            except Disconnected:
                continue
            except RuntimeBroken as error:
                _log.warning("%s; trying again", error)
            else:
                return


async def _quit(channel: Channel) -> None:
    """It answers, or it just ends; both will do."""
    with contextlib.suppress(Disconnected):
        async with asyncio.timeout(_QUIT_SECONDS):
            await channel.ask(op="quit")
