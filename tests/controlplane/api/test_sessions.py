"""The conversation with a node: what it is told, what is believed of it, and what never happens."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from controlplane.store import memory
from orch import wire
from orch.model.names import ObjectName, TaskId
from orch.model.task import TaskState
from orch.v1 import control_pb2 as pb
from orch.v1 import sessions_pb2_grpc
from tests.support import agents, planes


def silent(_wanted: str, _template: Any) -> list[tuple[TaskState, bool]]:
    return []


async def test_a_node_gets_a_range_of_its_own_and_hears_of_its_peers(running: planes.Running) -> None:
    first, second = await asyncio.gather(running.agent("n1"), running.agent("n2"))
    await first.wait_until(lambda it: "peers" in it.told and len(it.told["peers"].peers) == 1)
    await second.wait_until(lambda it: "peers" in it.told and len(it.told["peers"].peers) == 1)
    ranges = [*first.told["peers"].subnets, *second.told["peers"].subnets]
    assert sorted(ranges) == ["10.208.0.0/22", "10.208.4.0/22"]
    assert list(first.told["peers"].peers[0].subnets) == list(second.told["peers"].subnets)


async def test_a_node_keeps_its_range_and_its_user_labels_when_it_comes_back(running: planes.Running) -> None:
    agent = await running.agent("n1", labels={"zone": "a"})
    await running.stub.ChangeNode(pb.ChangeNodeRequest(name="n1", set_labels={"ring": "canary"}))
    await agent.stop()
    again = await running.back(agent, incarnation=2, labels={"zone": "b"})
    await again.wait_until(lambda it: "peers" in it.told)
    node = running.plane.picture.cluster.nodes["n1"]
    assert (node.spec.labels, node.status.subnets, node.status.incarnation) == (
        {"zone": "a", "ring": "canary"},
        ("10.208.0.0/22",),
        2,
    )


async def test_sections_come_with_growing_versions_and_only_when_they_changed(
    running: planes.Running,
) -> None:
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service(replicas=4)))
    await running.ready(4)
    await agent.wait_until(
        lambda it: "endpoints" in it.told and len(it.told["endpoints"].services[0].endpoints) == 4
    )
    for versions in agent.versions.values():
        assert versions == sorted(set(versions))
    assert len(agent.versions["peers"]) == 1
    assert len(agent.versions["files"]) == 1


async def test_reports_are_acknowledged_once_they_are_stored(running: planes.Running) -> None:
    agent = await running.agent("n1", script=silent)
    await running.stub.Apply(planes.applying(planes.a_service()))
    await agent.wait_until(lambda it: bool(it.tasks()))
    task = wire.from_wire(agent.tasks()[0].id, TaskId)
    agent.say(agent.status(task, TaskState.RUNNING, ready=True))
    await agent.wait_until(lambda it: it.stored == 1)
    assert running.plane.picture.cluster.state(task) is TaskState.RUNNING


async def test_an_older_report_is_not_believed(running: planes.Running) -> None:
    agent = await running.agent("n1", script=silent)
    await running.stub.Apply(planes.applying(planes.a_service()))
    await agent.wait_until(lambda it: bool(it.tasks()))
    task = wire.from_wire(agent.tasks()[0].id, TaskId)
    early = agent.status(task, TaskState.STARTING)
    agent.say(agent.status(task, TaskState.RUNNING, ready=True))
    agent.say(early)
    await agent.wait_until(lambda it: it.stored == 2)
    assert running.plane.picture.cluster.state(task) is TaskState.RUNNING


async def test_a_node_cannot_speak_of_anothers_tasks(running: planes.Running) -> None:
    agent = await running.agent("n1", script=silent)
    await running.stub.Apply(planes.applying(planes.a_service()))
    await agent.wait_until(lambda it: bool(it.tasks()))
    task = wire.from_wire(agent.tasks()[0].id, TaskId)
    liar = await running.agent("n2")
    liar.say(replace(liar.status(task, TaskState.FAILED), node="n1"), liar.status(task, TaskState.FAILED))
    await liar.wait_until(lambda it: it.stored == 1)
    assert task not in running.plane.picture.cluster.statuses


async def test_a_task_to_be_stopped_that_a_node_no_longer_knows_has_stopped(running: planes.Running) -> None:
    agent = await running.agent(
        "n1", script=lambda wanted, t: agents.runs_well(wanted, t) if wanted == "run" else []
    )
    await running.stub.Apply(planes.applying(planes.a_service()))
    await running.wait_until(lambda cluster: any(each.ready for each in cluster.statuses.values()))
    await agent.stop()
    await running.stub.Delete(pb.DeleteRequest(references=[pb.Reference(kind="service", name="web")]))
    await running.back(agent, incarnation=2)
    await running.wait_until(lambda cluster: not cluster.services and not cluster.tasks)


async def test_a_silent_node_is_down_and_its_tasks_run_elsewhere(tmp_path: Path) -> None:
    running = await planes.start(tmp_path / "data", node_timeout=0.6)
    try:
        doomed = await running.agent("n1")
        await running.stub.Apply(planes.applying(planes.a_service(replicas=2)))
        await running.ready(2)
        await running.agent("n2")
        await doomed.stop()
        await running.wait_until(
            lambda cluster: (
                sum(cluster.is_ready(task) and task.node == "n2" for task in cluster.all_tasks()) == 2
            )
        )
        returned = await running.back(doomed, incarnation=2, said=doomed.said)
        await returned.wait_until(lambda it: all(task.wanted == "stop" for task in it.tasks()))
    finally:
        await running.stop()


async def test_a_control_plane_that_has_read_nothing_tells_nothing(tmp_path: Path) -> None:
    """P18: the store answers writes but not the list: no empty set of tasks may go out."""
    store = memory.MemoryStore.fresh()
    running = await planes.start(tmp_path / "data", store)
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service(replicas=2)))
    await agent.wait_until(lambda it: len(it.tasks()) == 2)
    await running.stop()
    deaf = _Unreadable(store.data)
    second = asyncio.create_task(planes.start(tmp_path / "data", deaf))
    await asyncio.wait_for(deaf.was_asked.wait(), agents.WAIT_SECONDS)
    assert not second.done()
    deaf.opened.set()
    again = await second
    try:
        returned = await again.back(agent, said=agent.said)
        await returned.wait_until(lambda it: "tasks" in it.told)
        assert len(returned.told["tasks"].tasks) == 2
        assert returned.versions["tasks"][0] > agent.versions["tasks"][-1]
    finally:
        await again.stop()


class _Unreadable(memory.MemoryStore):
    """Lists only after `opened`."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.was_asked = asyncio.Event()
        self.opened = asyncio.Event()

    async def list(self, prefix: str, *, values: bool = True) -> Any:
        self.was_asked.set()
        await self.opened.wait()
        return await super().list(prefix, values=values)


async def test_a_follower_sends_nodes_to_the_leader_and_serves_reads_and_writes(tmp_path: Path) -> None:
    store = memory.MemoryStore.fresh()
    leading = await planes.start(tmp_path / "one", store, advertise="127.0.0.1:4242")
    planes.share_keys(tmp_path / "one", tmp_path / "two")
    following = await planes.start(tmp_path / "two", store.another())
    try:
        await following.stub.Apply(planes.applying(planes.a_service()))
        agent = await leading.agent("n1")
        await agent.wait_until(lambda it: bool(it.tasks()))
        lost = agents.Agent("n1", following.address, agent.credential)
        asyncio.get_running_loop().call_later(0.5, lost.welcomed.set)
        await lost.start()
        assert lost.redirects == ["127.0.0.1:4242"]
        await lost.stop()
        await following.wait_until(lambda cluster: any(each.ready for each in cluster.statuses.values()))
        got = await following.stub.Get(pb.GetRequest(kinds=["services"]))
        assert got.objects[0].service.ready == 1
        version = await following.stub.Version(pb.VersionRequest())
        assert (version.is_leader, version.leader_address) == (False, "127.0.0.1:4242")
    finally:
        await following.stop()
        await leading.stop()


async def test_a_deposed_leader_changes_nothing(tmp_path: Path) -> None:
    """P11: another has taken the lead; neither the loop nor a session of the former leader can write."""
    store = memory.MemoryStore.fresh()
    running = await planes.start(tmp_path / "data", store)
    try:
        agent = await running.agent("n1", script=silent)
        await running.stub.Apply(planes.applying(planes.a_service()))
        await agent.wait_until(lambda it: bool(it.tasks()))
        task = wire.from_wire(agent.tasks()[0].id, TaskId)
        from controlplane.store import keys, port

        usurper = store.another()
        store.cut()  # the former leader hears of nothing
        await usurper.commit([], [port.Delete(keys.LEADER)])
        await usurper.commit([], [port.Put(keys.LEADER, b"127.0.0.1:9")])
        before = usurper.data.revision
        store.heal()
        agent.say(agent.status(task, TaskState.RUNNING, ready=True))
        running.plane.driver.wake(task.owner)
        await running.stub.Version(pb.VersionRequest())
        await asyncio.wait_for(_deposed(running), agents.WAIT_SECONDS)
        written = [entry for entry in (await usurper.list("/orch/")).entries if entry.modified > before]
        assert [entry.key for entry in written if not entry.key.startswith(keys.TOKENS)] == []
    finally:
        await running.stop()


async def _deposed(running: planes.Running) -> None:
    gone = asyncio.Event()
    leader = running.plane.leadership
    stop = leader.listen(lambda: gone.set() if leader.epoch is None else None)
    if leader.epoch is not None:
        await gone.wait()
    stop()


async def test_followed_logs_go_on_with_tasks_that_come_later_and_end_with_the_service(
    running: planes.Running,
) -> None:
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service()))
    await running.wait_until(lambda cluster: any(map(cluster.is_ready, cluster.all_tasks())))
    async with agent.credential.channel(running.address) as channel:
        stub = sessions_pb2_grpc.SessionsStub(channel)
        answering = asyncio.create_task(agents.answer_asks(agent, stub, 3))
        logs = running.stub.Logs(pb.LogsRequest(name="web", follow=True))

        async def heard() -> str:
            lines = [await asyncio.wait_for(logs.read(), agents.WAIT_SECONDS) for _ in range(2)]
            assert [line.text for line in lines] == [b"one", b"two"]
            return str(lines[0].task)

        assert await heard() == "web.1.1"
        await running.stub.Scale(
            pb.ScaleRequest(service=wire.to_wire(ObjectName("default", "web")), replicas=2)
        )
        assert await heard() == "web.2.1"
        await running.stub.Apply(planes.applying(planes.a_service(image="web:2", replicas=1)))
        assert await heard() == "web.1.2"
        await running.stub.Delete(pb.DeleteRequest(references=[pb.Reference(kind="service", name="web")]))
        assert await asyncio.wait_for(logs.read(), agents.WAIT_SECONDS) == aio.EOF
        await answering


async def test_logs_and_exec_go_through_a_stream_that_the_node_dials(running: planes.Running) -> None:
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service()))
    await running.wait_until(lambda cluster: any(each.ready for each in cluster.statuses.values()))
    async with agent.credential.channel(running.address) as channel:
        stub = sessions_pb2_grpc.SessionsStub(channel)
        answering = asyncio.create_task(agents.answer_asks(agent, stub, 2))
        lines = [line.text async for line in running.stub.Logs(pb.LogsRequest(name="web", tail=-1))]
        assert lines == [b"one", b"two"]
        start = pb.ExecStart(task="web.1", args=["cat"])

        async def inputs() -> Any:
            yield pb.ExecInput(start=start)
            yield pb.ExecInput(stdin=b"hello")
            yield pb.ExecInput(stdin_closed=True)

        outputs = [output async for output in running.stub.Exec(inputs())]
        assert b"".join(output.stdout for output in outputs) == b"hello"
        assert outputs[-1].end.exit_code == 0
        await answering


async def test_a_node_that_is_not_there_is_named(running: planes.Running) -> None:
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service()))
    await agent.wait_until(lambda it: bool(it.tasks()))
    await agent.stop()
    lines = [line async for line in running.stub.Logs(pb.LogsRequest(name="web"))]
    assert "n1 is not connected" in lines[0].problem


async def test_a_store_that_is_away_stops_no_task_and_is_named(tmp_path: Path) -> None:
    """P12: reads go on, writes say why not, nodes are told nothing new, and all goes on when it is back."""
    store = memory.MemoryStore.fresh()
    running = await planes.start(tmp_path / "data", store)
    try:
        agent = await running.agent("n1")
        await running.stub.Apply(planes.applying(planes.a_service(replicas=2)))
        await running.ready(2)
        told = list(agent.versions["tasks"])
        store.cut()
        code, words = await planes.refused(
            running.stub.Apply(planes.applying(planes.a_service(image="web:2")))
        )
        assert (code, "its store" in words) == (StatusCode.UNAVAILABLE, True)
        got = await running.stub.Get(pb.GetRequest(kinds=["services"]))
        assert got.objects[0].service.ready == 2
        assert agent.versions["tasks"] == told
        store.heal()
        await running.stub.Apply(planes.applying(planes.a_service(image="web:2")))
        await running.wait_until(
            lambda cluster: (
                sum(cluster.is_ready(task) and task.revision == 2 for task in cluster.all_tasks()) == 2
            )
        )
    finally:
        await running.stop()


async def test_a_lost_answer_of_the_store_makes_nothing_twice(tmp_path: Path) -> None:
    store = memory.MemoryStore.fresh()
    running = await planes.start(tmp_path / "data", store)
    try:
        agent = await running.agent("n1")
        store.faults.lose_answers = 1
        reply = await running.stub.Apply(planes.applying(planes.a_service(replicas=3), request_id="r-9"))
        assert reply.objects[0].generation == 1
        store.faults.lose_answers = 3
        store.faults.lose_requests = 1
        await running.stub.Apply(planes.applying(planes.a_service(replicas=5), request_id="r-10"))
        await agent.wait_until(lambda it: len(it.tasks()) == 5)
        await running.ready(5)
        cluster = running.plane.picture.cluster
        assert sorted(task.id.attempt for task in cluster.all_tasks()) == [1] * 5
    finally:
        await running.stop()


async def test_a_removed_node_is_forgotten_and_comes_back_only_with_a_token(tmp_path: Path) -> None:
    running = await planes.start(tmp_path / "data", node_timeout=0.5)
    try:
        agent = await running.agent("n1")
        code, _ = await planes.refused(running.stub.ChangeNode(pb.ChangeNodeRequest(name="n1", remove=True)))
        assert code is StatusCode.FAILED_PRECONDITION
        await agent.stop()
        await running.wait_until(lambda cluster: not cluster.nodes["n1"].is_ready)
        await running.stub.ChangeNode(pb.ChangeNodeRequest(name="n1", remove=True))
        cluster = running.plane.picture.cluster
        assert (dict(cluster.nodes), dict(cluster.subnets)) == ({}, {})
        again = agents.Agent("n1", running.address, agent.credential, incarnation=2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(again.start(), 0.5)
        assert "join it again" in again.ended
        await again.stop()
        await running.agent("n1", incarnation=3)
    finally:
        await running.stop()
