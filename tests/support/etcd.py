"""A real etcd for one test: our embedded one, in a directory of its own."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.store import embedded, etcd, etcd_channel

needs_etcd = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs etcd: apt install etcd-server")


@asynccontextmanager
async def running(directory: Path, **settings: object) -> AsyncIterator[embedded.EmbeddedEtcd]:
    """etcd, ready; gone without trace afterwards."""
    server = embedded.EmbeddedEtcd(embedded.Settings(directory, **settings))  # type: ignore[arg-type]
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
