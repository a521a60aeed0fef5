"""The cluster's own registry, and nodes that pull from it and from each other: all but the processes."""

import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from obstore.store import MemoryStore

from agent.images.giving import Giving
from agent.images.images import Images
from agent.images.sharing import Sharing
from controlplane.api import authority
from controlplane.registry.listener import Listener
from orch.identity import roles, tls
from orch.identity.roles import Caller, Role
from orch.oci import build, reference
from orch.oci.door import Door
from orch.oci.reference import CLUSTER
from orch.oci.registry import Registry


@dataclass
class Node:
    name: str
    images: Images
    giving: Giving


class Cluster:
    """Its authority, its registry, and certificates for whoever asks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = authority.found("test", time.time())
        self.listener = Listener(MemoryStore())
        self._closing = contextlib.AsyncExitStack()

    async def start(self) -> None:
        own = authority.issue(self._ca, Caller("cp-1", Role.SERVER), time.time(), ("127.0.0.1",))
        await self.listener.start("127.0.0.1:0", own.certificate, own.key, self._ca.certificate)
        self._closing.push_async_callback(self.listener.stop)

    async def close(self) -> None:
        await self._closing.aclose()

    def shown_by(self, who: Caller) -> tuple[bytes, bytes, bytes]:
        pair = authority.issue(self._ca, who, time.time())
        return pair.certificate, pair.key, self._ca.certificate

    def context_of(self, who: Caller) -> ssl.SSLContext:
        return tls.client(*self.shown_by(who))

    async def push(self, name: str, built: build.Built) -> None:
        door = Door(self.listener.address, self.context_of(Caller("ann", Role.USER)), roles.SERVER_NAME)
        async with Registry(door=lambda _: door) as registry:
            await build.push(registry, reference.parse(f"{CLUSTER}/{name}"), built)

    async def node(self, name: str, giving: type[Giving] = Giving) -> Node:
        """One that takes part; it is closed with the cluster."""
        directory = self._directory / name / "images"
        identity = self.shown_by(Caller(name, Role.NODE))
        given = giving(Sharing(directory), lambda: "127.0.0.1", 0, lambda: identity)
        context = tls.client(*identity)
        images = await Images.open(
            directory,
            door=lambda _: Door(self.listener.address, context, roles.SERVER_NAME, offer=given.offer),
            giving=given,
        )
        self._closing.push_async_callback(images.close)
        return Node(name, images, given)


@contextlib.asynccontextmanager
async def a_cluster(directory: Path) -> AsyncIterator[Cluster]:
    made = Cluster(directory)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
