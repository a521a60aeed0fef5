"""The process: settings, data directory, store, control plane, signals."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controlplane import plane
from controlplane import settings as settings_room
from controlplane.api import datadir, server
from controlplane.loop import clock
from controlplane.registry import refusal
from controlplane.settings import Settings
from controlplane.store import embedded, etcd, etcd_channel, keys, port, sealing
from orch import journal

log = logging.getLogger(__name__)


def main() -> None:
    """The command `orch-controlplane`."""
    settings = settings_room.parse()
    journal.begin(verbose=settings.verbose)
    try:
        asyncio.run(serve(settings))
    except (
        datadir.BadDirectory,
        server.CannotListen,
        refusal.CannotServe,
        sealing.BadKeyFile,
        port.StoreError,
    ) as error:
        sys.exit(f"orch-controlplane: {error}")


async def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    lock = datadir.lock(settings.data)
    try:
        async with _store(settings) as (store, connection):
            await _serve_on(settings, store, connection, stopping)
    finally:
        os.close(lock)


async def _serve_on(
    settings: Settings, store: port.Store, connection: etcd_channel.Connection, stopping: asyncio.Event
) -> None:
    grounds = await plane.prepare(settings, store, clock.SystemClock(), connection)
    running = plane.Plane(grounds)
    try:
        await running.start()
        gc.collect()
        gc.freeze()  # what is there now stays; looking through it again and again only costs
        print(f"ready on {', '.join(running.addresses)}; nodes join at {running.join_address}", flush=True)  # noqa: T201  the one line
        _notify("READY=1")
        failing = asyncio.create_task(running.run())
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({failing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        _notify("STOPPING=1")
        stopped.cancel()
        if failing.done():
            await failing
        failing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await failing
    finally:
        await running.stop()


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[tuple[port.Store, etcd_channel.Connection]]:
    """The external etcd, or one of our own."""
    if settings.etcd_endpoints:
        connection = etcd_channel.Connection(
            settings.etcd_endpoints, settings.etcd_ca, settings.etcd_cert, settings.etcd_key
        )
        async with _connected(connection) as store:
            yield store, connection
        return
    child = embedded.EmbeddedEtcd(embedded.Settings(settings.data / "etcd"))
    await child.start()
    try:
        connection = etcd_channel.Connection((child.endpoint,))
        async with _connected(connection) as store:
            await _depose_the_dead(store)
            yield store, connection
    finally:
        await child.stop()


async def _depose_the_dead(store: port.Store) -> None:
    """Nobody else can use an etcd of our own: whoever still seems to lead is our past."""
    await store.commit([], [port.Delete(keys.LEADER)])


@asynccontextmanager
async def _connected(connection: etcd_channel.Connection) -> AsyncIterator[port.Store]:
    store = await etcd.EtcdStore.connect(connection)
    try:
        yield store
    finally:
        await store.close()


def _notify(words: str) -> None:
    """To systemd, when it started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        contextlib.suppress(OSError),
    ):
        channel.sendto(words.encode(), address)
