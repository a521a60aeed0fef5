"""A real etcd for one test: our embedded one, in a directory of its own."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from controlplane.store import embedded, etcd, etcd_channel, port

RESTARTED_WITHIN_SECONDS = 30.0

needs_etcd = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs etcd: apt install etcd-server")


@asynccontextmanager
async def running(directory: Path, **settings: object) -> "AsyncIterator[Supervised]":
    """etcd, ready; gone without trace afterwards."""
    server = Supervised(embedded.Settings(directory, **settings))  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def connected(*endpoints: str, **options: object) -> AsyncIterator[etcd.EtcdStore]:
    """A client of it."""
    store = await etcd.EtcdStore.connect(etcd_channel.Connection(endpoints, **options))  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()


class Supervised(embedded.EmbeddedEtcd):
    """An embedded etcd that a test can kill."""

    def __init__(self, settings: embedded.Settings) -> None:
        self._ended = asyncio.Event()
        super().__init__(settings, on_restart=lambda _: self._ended.set())

    async def kill(self) -> None:
        """kill -9; returns when the supervisor has brought up another."""
        self._ended.clear()
        os.kill(self.pid or 0, signal.SIGKILL)
        async with asyncio.timeout(RESTARTED_WITHIN_SECONDS):
            await self._ended.wait()
            await self.wait_serves()


class Paused:
    """A store whose watches deliver nothing while `gate` is closed, as in a process that is not run."""

    def __init__(self, store: etcd.EtcdStore) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.gate.set()

    async def watch(self, prefix: str, start: int) -> AsyncIterator[port.Batch]:
        """As the store's, through the gate."""
        async with aclosing(self._store.watch(prefix, start)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                await self.gate.wait()
                yield batch

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)
