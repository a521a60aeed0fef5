"""The cluster's own registry on a free port of the loopback, over any store, open to everybody."""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from obstore.store import ObjectStore

from controlplane.registry.blobs import Blobs
from controlplane.registry.repositories import Repositories
from controlplane.registry.serving import Registry


@contextlib.asynccontextmanager
async def our_registry(store: ObjectStore) -> AsyncIterator[str]:
    """host:port, plain HTTP."""

    async def everybody(_request: web.Request, _name: str, _changes: bool) -> None:
        return None

    blobs = Blobs(store)
    runner = web.AppRunner(Registry(blobs, Repositories(store, blobs), everybody).application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
