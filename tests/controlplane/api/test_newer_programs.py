"""What a newer program wrote into the store outlives an older one that rewrites it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.cluster import snapshot
from controlplane.store import keys, memory, port
from orch.model.names import ServiceName
from orch.model.rollout import Phase
from orch.model.task import TaskState, Wanted
from orch.v1 import control_pb2 as pb
from tests.support import agents, planes

WEB = ServiceName("default", "web")
UNKNOWN = b"\xa2\x38\x06future"
"""Field 900, bytes: no program of today has it."""


@dataclass
class Stage:
    """Two of web run; the store can be written past the control plane."""

    store: port.Store
    running: planes.Running
    agent: agents.Agent

    async def write_as_newer(self, *written: str) -> None:
        """All that lies under the keys has one more field."""
        entries = [(await self.store.get(key))[0] for key in written]
        puts = [port.Put(entry.key, entry.value + UNKNOWN) for entry in entries if entry is not None]
        assert len(puts) == len(written)
        at = await self.store.commit([], puts)
        await self.running.wait_until(lambda cluster: cluster.revision >= at)

    async def has_unknown(self, key: str) -> bool:
        entry, _ = await self.store.get(key)
        assert entry is not None
        return UNKNOWN in entry.value

    async def scale(self, replicas: int) -> None:
        request = pb.ScaleRequest(replicas=replicas)
        request.service.namespace, request.service.name = WEB
        await self.running.stub.Scale(request)

    async def wait(self, claim: Callable[[snapshot.Cluster], bool]) -> snapshot.Cluster:
        await self.running.wait_until(claim)
        return self.running.plane.picture.cluster


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    store = memory.MemoryStore.fresh()
    running = await planes.start(tmp_path / "data", store)
    try:
        agent = await running.agent("n1")
        await running.stub.Apply(planes.applying(planes.a_service(replicas=2)))
        await running.wait_until(lambda cluster: is_done(cluster, 1))
        yield Stage(store, running, agent)
    finally:
        await running.stop()


def is_done(cluster: snapshot.Cluster, revision: int) -> bool:
    rollout = cluster.rollout(WEB)
    return rollout is not None and (rollout.phase, rollout.stable) == (Phase.DONE, revision)


async def test_scaling_keeps_what_a_newer_program_wrote_of_a_service(stage: Stage) -> None:
    key = keys.service(WEB)
    await stage.write_as_newer(key)
    await stage.scale(3)
    await stage.scale(4)
    await stage.wait(lambda cluster: len(cluster.tasks_of(WEB)) == 4)
    assert await stage.has_unknown(key)


async def test_cordoning_keeps_what_a_newer_program_wrote_of_a_node(stage: Stage) -> None:
    key = keys.node_spec("n1")
    await stage.write_as_newer(key)
    await stage.running.stub.ChangeNode(pb.ChangeNodeRequest(name="n1", availability="cordoned"))
    assert await stage.has_unknown(key)


async def test_a_returning_node_keeps_what_a_newer_program_wrote_of_its_status(stage: Stage) -> None:
    key = keys.node_status("n1")
    await stage.write_as_newer(key)
    await stage.agent.stop()
    stage.agent.incarnation = 2
    await stage.agent.start()
    await stage.wait(lambda cluster: cluster.nodes["n1"].status.incarnation == 2)
    assert await stage.has_unknown(key)


async def test_retiring_keeps_what_a_newer_program_wrote_of_a_task(stage: Stage) -> None:
    stage.agent.script = lambda _wanted, _template: [(TaskState.RUNNING, True)]  # it never stops
    last = stage.running.plane.picture.cluster.tasks_of(WEB)[-1].id
    await stage.write_as_newer(keys.task_desired(last))
    await stage.scale(1)
    cluster = await stage.wait(lambda cluster: cluster.tasks[WEB][last].wanted is Wanted.STOP)
    assert cluster.tasks[WEB][last].stop_at > 0
    assert await stage.has_unknown(keys.task_desired(last))


async def test_a_rollout_keeps_what_a_newer_program_wrote_of_it(stage: Stage) -> None:
    await stage.write_as_newer(keys.rollout(WEB))
    await stage.running.stub.Apply(planes.applying(planes.a_service(image="web:2", replicas=2)))
    await stage.wait(lambda cluster: is_done(cluster, 2))
    assert await stage.has_unknown(keys.rollout(WEB))


async def test_what_is_deleted_leaves_nothing_of_a_newer_program_behind(stage: Stage) -> None:
    await stage.write_as_newer(keys.service(WEB))
    request = pb.DeleteRequest(references=[pb.Reference(kind="service", namespace="default", name="web")])
    await stage.running.stub.Delete(request)
    cluster = await stage.wait(lambda cluster: cluster.service(WEB) is None)
    assert not cluster.newer
