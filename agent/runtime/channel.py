"""The agent's end of a conversation with the shim: numbered requests, answers, and events (asyncio)."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.runtime import packets


class Disconnected(ConnectionError):
    """The other side ended before it answered."""


class Channel:
    """Packets are small and the shim always reads, so sending never waits."""

    def __init__(
        self, path: Path, on_event: Callable[[dict[str, Any]], None], on_end: Callable[[], None]
    ) -> None:
        self._sock = packets.connect(str(path))
        self._sock.setblocking(False)
        self._on_event = on_event
        self._on_end = on_end
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self._hear)
        self.is_open = True

    async def ask(self, fds: tuple[int, ...] = (), **request: Any) -> tuple[dict[str, Any], list[int]]:
        """The answer and its descriptors; Disconnected when there will be none."""
        if not self.is_open:
            raise Disconnected("the shim is away")
        number = next(self._numbers)
        future: asyncio.Future[tuple[dict[str, Any], list[int]]] = self._loop.create_future()
        self._waiting[number] = future
        try:
            await self._send({"id": number, **request}, fds)
            return await future
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Disconnected("the shim ended before it answered"))

    async def _send(self, packet: dict[str, Any], fds: tuple[int, ...]) -> None:
        while True:
            try:
                packets.send(self._sock, packet, fds)
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                self.close()  # the reader may not have been told yet
                self._on_end()
                raise Disconnected(f"the shim is away: {error}") from error
            else:
                return

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._sock.fileno(), _settle, ready)
        try:
            await ready
        finally:
            if self.is_open:
                self._loop.remove_writer(self._sock.fileno())

    def _hear(self) -> None:
        while self.is_open:
            try:
                heard = packets.receive(self._sock)
            except BlockingIOError:
                return
            except OSError:
                heard = None
            if heard is None:
                self.close()
                self._on_end()
                return
            self._take(*heard)

    def _take(self, packet: dict[str, Any], fds: list[int]) -> None:
        if "event" in packet:
            self._on_event(packet)
            return
        future = self._waiting.get(packet["id"])
        if future and not future.done():
            future.set_result((packet, fds))
            return
        for fd in fds:  # whoever asked was cancelled
            with contextlib.suppress(OSError):
                os.close(fd)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
