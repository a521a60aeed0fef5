"""A cluster on virtual time: real mirror, leadership, loop, deciders and sessions; simulated nodes."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from controlplane.api import registry, sessions, statuses, telling
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import endpoints
from controlplane.loop import driver, liveness, picture, pipeline, recorder
from controlplane.store import codec, keys, leadership, memory, mirror, port
from orch.model.cluster import ClusterIdentity
from orch.model.names import ServiceName
from orch.model.node import NodeSpec
from orch.model.service import Revision, Service
from tests.simulation.node import Node
from tests.simulation.virtual import VirtualClock
from tests.support.builders import WEB, a_service, a_template

NODE_TIMEOUT_SECONDS = 5.0


class ControlPlane:
    """The parts that decide and speak, without listeners."""

    def __init__(self, store: memory.MemoryStore, name: str) -> None:
        time = VirtualClock()
        self.store = store
        self.picture = picture.Picture()
        self.mirror = mirror.Mirror(store, keys.ROOT, self.picture)
        self.leadership = leadership.Leadership(store, name.encode())
        heard = liveness.Liveness()
        told = recorder.Recorder(store, self.picture, self.leadership, time)
        self.driver = driver.Driver(
            store, self.picture, self.leadership, heard, told, time, pipeline.Pipeline(NODE_TIMEOUT_SECONDS)
        )
        writer = statuses.StatusWriter(store, self.picture, self.leadership, told.tell)
        self.sessions = sessions.Sessions(
            seen=self.picture,
            leader=self.leadership,
            nodes=registry.Registry(store, self.picture, self.leadership, time),
            writer=writer,
            teller=telling.Teller(self.picture, self.leadership, lambda _: {}, endpoints.of_service),
            heard=heard,
            told=told,
            time=time,
            timing=sessions.Timing(1.0, NODE_TIMEOUT_SECONDS),
        )
        parts = (self.mirror, self.leadership, self.driver, writer, told)
        self.tasks = [asyncio.create_task(part.run()) for part in parts]

    async def stop(self) -> None:
        """Politely: another may lead at once."""
        self.sessions.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass
class Stage:
    """What a play is made of."""

    keyspace: memory.MemoryStore
    control_planes: list[ControlPlane]
    nodes: dict[str, Node]
    sessions: list[sessions.Sessions]
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    revision: int = 0

    @property
    def cluster(self) -> Cluster:
        return self.control_planes[-1].picture.cluster

    # ── users ────────────────────────────────────────────────────────────────────────────────────────────

    async def apply(self, image: str, name: str = "web", **words: Any) -> None:
        """A new revision of a service, as the API writes it."""
        self.revision += 1
        template = words.pop("template", None) or a_template(image=image)
        revision, service = a_service(name, birth=0, revision=self.revision, template=template, **words)
        assert isinstance(service, Service)
        assert isinstance(revision, Revision)
        known = self.cluster.service(service.name)
        if known is not None:
            service = replace(service, birth=known.birth, orders=known.orders)
        await self.write(revision, service)

    async def change(self, name: ServiceName = WEB, **words: Any) -> None:
        """Orders, or `deleted`."""
        service = self.cluster.services[name]
        fields = {key: words.pop(key) for key in ("deleted",) if key in words}
        await self.write(replace(service, **fields, orders=replace(service.orders, **words)))

    async def node(self, name: str, **words: Any) -> None:
        """Labels, availability, taints."""
        await self.write(replace(self.cluster.nodes[name].spec, **words))

    async def write(self, *values: Revision | Service | NodeSpec) -> None:
        await self.keyspace.commit([], [codec.write(codec.Save(value)) for value in values])

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait_quiet(self, seconds: float = 30.0, most: float = 2_000.0) -> None:
        """Until nothing was written for so long, leases and events apart."""
        deadline = asyncio.get_running_loop().time() + most
        before = None
        while (now := self._content()) != before:
            assert asyncio.get_running_loop().time() < deadline, "the cluster does not come to rest"
            before = now
            await asyncio.sleep(seconds)

    def _content(self) -> dict[str, int]:
        wanted = (keys.SERVICES, keys.ROLLOUTS, keys.TASKS, keys.NODES)
        return {e.key: e.modified for prefix in wanted for e in self.keyspace.data.under(prefix)}

    # ── control planes ───────────────────────────────────────────────────────────────────────────────────

    async def start_another(self) -> None:
        """A control plane that follows, until the leader is gone."""
        self._add(memory.MemoryStore(self.keyspace.data))
        await asyncio.sleep(0.1)

    async def kill_leader(self) -> None:
        """As with kill -9: its lease runs out by itself."""
        leader = next(each for each in self.control_planes if each.leadership.epoch is not None)
        await self._kill(leader)

    async def kill_leader_if_any(self) -> None:
        """The same, when somebody leads."""
        if any(each.leadership.epoch is not None for each in self.control_planes):
            await self.kill_leader()

    async def _kill(self, leader: ControlPlane) -> None:
        leader.store.faults.cut = True
        self.control_planes.remove(leader)
        self.sessions.remove(leader.sessions)
        await leader.stop()

    def _add(self, store: memory.MemoryStore) -> None:
        made = ControlPlane(store, f"cp{len(self.control_planes)}")
        self.control_planes.append(made)
        self.sessions.append(made.sessions)

    # ── what is seen ─────────────────────────────────────────────────────────────────────────────────────

    def look(self, name: ServiceName = WEB) -> str:
        """The rollout and every task that is not over."""
        cluster = self.cluster
        rollout = cluster.rollout(name)
        if rollout is None:
            return f"{name}: nothing"
        lines = [
            f"{name}: {rollout.phase}, stable {rollout.stable}, target {rollout.target}: {rollout.verdict}"
        ]
        for task in cluster.tasks_of(name):
            if not cluster.has_finished(task):
                state = cluster.state(task.id).name.lower()
                words = [str(task.id), task.node or "-", f"rev {task.revision}", state]
                words += ["ready"] if cluster.is_ready(task) else []
                words += ["lost"] if cluster.is_lost(task) else []
                words += ["stopping"] if task.wanted == "stop" else []
                lines.append("  " + " ".join(words))
        return "\n".join(lines)


@asynccontextmanager
async def a_stage(nodes: Iterable[str] | dict[str, dict[str, str]]) -> AsyncIterator[Stage]:
    """One control plane that leads, and nodes that are ready."""
    labels = nodes if isinstance(nodes, dict) else {name: {} for name in nodes}
    store = memory.MemoryStore.fresh()
    identity = ClusterIdentity("simulated")
    await store.commit([port.Absent(keys.CLUSTER)], [codec.write(codec.Save(identity))])
    stage = Stage(store, [], {}, [])
    joined = [port.Put(keys.node_identity(name), b"simulated") for name in labels]
    await store.commit([], joined)
    stage._add(memory.MemoryStore(store.data))
    for name in labels:
        node = Node(name, labels[name], stage.sessions)
        stage.nodes[name] = node
        stage.tasks.append(asyncio.create_task(node.live()))
        await asyncio.sleep(0.1)
    try:
        await asyncio.sleep(1)
        assert len(stage.cluster.nodes) == len(labels), [node.refusal for node in stage.nodes.values()]
        yield stage
    finally:
        for task in stage.tasks:
            task.cancel()
        for node in stage.nodes.values():
            node.cut()
        await asyncio.gather(*stage.tasks, return_exceptions=True)
        for each in stage.control_planes:
            await each.stop()
