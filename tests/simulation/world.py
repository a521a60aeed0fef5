"""A whole cluster in one process and no time: the real core of the control plane, a store in memory, nodes."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane import core
from controlplane.api import authority
from controlplane.cluster.snapshot import Cluster
from controlplane.loop import picture
from controlplane.settings import Settings
from controlplane.store import codec, keys, keyspace, memory, port, sealing
from orch.model.cluster import ClusterIdentity
from orch.model.config import Namespace
from tests.simulation.behaviour import Behaviour
from tests.simulation.distant_store import DistantStore
from tests.simulation.line import Handler, Line
from tests.simulation.simulated_node import Certified, Node, Watchers
from tests.simulation.virtual_time import VirtualClock

USER = Certified("CN=ada,O=orch:users")
KEYRING = sealing.Keyring({b"play": bytes(sealing.KEY_BYTES)}, b"play")
IDENTITY = ClusterIdentity("simulated")
NO_PAIR = authority.Pair(b"", b"")

Observer = Callable[[Cluster, Cluster, port.Batch], None]
Requested = Callable[[str, Sequence[port.Guard], Sequence[port.Write]], None]
"""Told what a control plane asks the store to write, and on which conditions."""


class ControlPlane:
    """One process of it."""

    def __init__(
        self,
        name: str,
        data: keyspace.Keyspace,
        on_commit: Callable[["ControlPlane"], None],
        on_request: Requested = lambda _name, _guards, _writes: None,
    ) -> None:
        self.name = name
        self.store = DistantStore(data, lambda: on_commit(self), functools.partial(on_request, name))
        settings = Settings(Path("/nowhere"), (), "", advertise=name, name=name)
        grounds = core.Grounds(settings, self.store, VirtualClock(), IDENTITY, NO_PAIR, KEYRING)
        self.core = core.Core(grounds)
        self.is_alive = True
        self.is_begun = False
        self._beginning: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Like a process: returns at once."""
        self._beginning = asyncio.create_task(self._begin())

    async def _begin(self) -> None:
        await self.core.begin()
        self.is_begun = True

    @property
    def leads(self) -> bool:
        return self.is_alive and self.core.leadership.epoch is not None

    async def kill(self) -> None:
        """As kill -9: nothing is given back; the lease runs out by itself."""
        self.is_alive = False
        self.store.near.cut()
        if self._beginning is not None:
            self._beginning.cancel()
        await self.core.end()
        await self.store.close()


@dataclass
class World:
    """What a play is made of."""

    data: keyspace.Keyspace
    truth: picture.Picture = field(default_factory=picture.Picture)
    """The store's content, without delay."""
    control_planes: list[ControlPlane] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    watchers: Watchers = field(default_factory=Watchers)
    asked: ControlPlane | None = None
    """Whom users talk to; None is the leader, or whoever is there."""
    crash_after_commits: int | None = None
    """The leader dies when so many more of its commits are in the store, before it learns of the last."""
    commits: int = 0
    observers: list[Observer] = field(default_factory=list)
    """Told of every revision of the store, with the pictures before and after it."""
    on_request: Requested = lambda _name, _guards, _writes: None
    on_start: Callable[[ControlPlane], None] = lambda _: None
    """Told of every control plane before it begins."""
    _killed: list[asyncio.Task[None]] = field(default_factory=list)

    # ── control planes ───────────────────────────────────────────────────────────────────────────────────

    def start_control_plane(self) -> ControlPlane:
        number = len(self.control_planes) + len(self._killed) + 1
        made = ControlPlane(f"cp{number}", self.data, self._on_commit, self._requested)
        self.control_planes.append(made)
        self.on_start(made)
        made.begin()
        return made

    def kill_control_plane(self, one: ControlPlane) -> None:
        self.control_planes.remove(one)
        one.is_alive = False
        self.asked = None if self.asked is one else self.asked
        one.store.near.cut()
        for node in self.nodes.values():
            for call in tuple(node.line.calls):
                if call.whom == one.name:
                    call.server.cancel()
        self._killed.append(asyncio.create_task(one.kill()))

    def leader(self) -> ControlPlane | None:
        return next((each for each in self.control_planes if each.leads), None)

    def anybody(self) -> ControlPlane | None:
        """Who answers users: the leader, else whoever has begun."""
        begun = (each for each in self.control_planes if each.is_begun)
        return self.leader() or next(begun, None)

    def _requested(self, name: str, guards: Sequence[port.Guard], writes: Sequence[port.Write]) -> None:
        self.on_request(name, guards, writes)

    def _on_commit(self, one: ControlPlane) -> None:
        self.commits += 1
        if self.crash_after_commits is None or not one.leads:
            return
        self.crash_after_commits -= 1
        if self.crash_after_commits <= 0:
            self.crash_after_commits = None
            self.kill_control_plane(one)

    # ── nodes ────────────────────────────────────────────────────────────────────────────────────────────

    async def join(self, name: str, labels: dict[str, str] | None = None, **size: Any) -> Node:
        """With a token that nobody doubts."""
        self.data.commit([], [port.Put(keys.node_identity(name), b"simulated")])
        number = len(self.nodes) + 1
        node = Node(
            name,
            labels or {},
            f"192.0.2.{number}",
            Line(number),
            self._dial,
            self.behaviours,
            self.watchers,
            **size,
        )
        self.nodes[name] = node
        node.start()
        return node

    def _dial(self, attempt: int) -> tuple[str, Handler] | None:
        reachable = [each for each in self.control_planes if each.is_begun]
        if not reachable:
            return None
        chosen = self.leader() or reachable[attempt % len(reachable)]
        return chosen.name, chosen.core.sessions.Session

    # ── users ────────────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, verb: str, request: Any) -> Any:
        """apply, delete, scale, rollout or change_node, as `orchctl` would. Raises what the door would say."""
        one = self.asked or self.anybody()
        if one is None:
            raise port.Unavailable("no control plane can be reached")
        return await getattr(one.core.changing, verb)(request, USER)

    # ── the store ────────────────────────────────────────────────────────────────────────────────────────

    def follow(self) -> None:
        """Called at every revision, within the very commit."""
        for batch in self.data.history(self.truth.cluster.revision + 1):
            before = self.truth.cluster
            self.truth.update(batch)
            for look in self.observers:
                look(before, self.truth.cluster, batch)


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    """A cluster that was founded a moment ago: no control plane, no node."""
    store = memory.MemoryStore.fresh()
    world = World(store.data)
    founded = [codec.write(codec.Save(IDENTITY)), codec.write(codec.Save(Namespace("default")))]
    store.data.listen(world.follow)
    store.data.commit([], founded)
    yield world
    for node in world.nodes.values():
        node.lose_power()
        node.line.drop_calls()
    for one in list(world.control_planes):
        world.kill_control_plane(one)
    await asyncio.gather(*world._killed)
    await asyncio.sleep(0.1)
