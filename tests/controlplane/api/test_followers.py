"""Any control plane serves users; what only the leader can answer is handed on to it."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from controlplane.store import memory
from orch.model.names import ServiceName
from orch.model.traffic import RevisionTraffic
from orch.v1 import control_pb2 as pb
from orch.v1 import sessions_pb2_grpc
from tests.support import agents, planes


@dataclass
class Pair:
    """Two control planes on one store, and a node that runs web.1."""

    leading: planes.Running
    following: planes.Running
    agent: agents.Agent


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    store = memory.MemoryStore.fresh()
    with tempfile.TemporaryDirectory(prefix="orch-") as short:  # a unix socket's path has few letters
        door = f"unix:{short}/cp.sock"
        leading = await planes.start(tmp_path / "one", store, listen=(door,), advertise=door)
        planes.share_keys(tmp_path / "one", tmp_path / "two")
        following = await planes.start(tmp_path / "two", store.another())
        try:
            agent = await leading.agent("n1")
            await leading.stub.Apply(planes.applying(planes.a_service()))
            for each in (leading, following):
                await each.wait_until(lambda cluster: any(it.ready for it in cluster.statuses.values()))
            yield Pair(leading, following, agent)
        finally:
            await following.stop()
            await leading.stop()


async def test_logs_and_exec_asked_of_a_follower_come_from_the_node(pair: Pair) -> None:
    assert pair.following.plane.leadership.epoch is None
    async with pair.agent.credential.channel(pair.leading.address) as channel:
        stub = sessions_pb2_grpc.SessionsStub(channel)
        answering = asyncio.create_task(agents.answer_asks(pair.agent, stub, 2))
        lines = [line async for line in pair.following.stub.Logs(pb.LogsRequest(name="web", tail=-1))]
        assert [line.text for line in lines] == [b"one", b"two"]

        async def inputs() -> AsyncIterator[Any]:
            yield pb.ExecInput(start=pb.ExecStart(task="web.1", args=["cat"]))
            yield pb.ExecInput(stdin=b"hello")
            yield pb.ExecInput(stdin_closed=True)

        outputs = [output async for output in pair.following.stub.Exec(inputs())]
        assert b"".join(output.stdout for output in outputs) == b"hello"
        assert outputs[-1].end.exit_code == 0
        await answering


async def test_the_leaders_refusal_reaches_the_user_of_a_follower_as_it_was_said(pair: Pair) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        async for _ in pair.following.stub.Logs(pb.LogsRequest(name="nothing")):
            pass
    assert caught.value.code() is StatusCode.NOT_FOUND
    assert "there is no service or task nothing" in (caught.value.details() or "")


async def test_a_user_who_hangs_up_on_a_follower_leaves_no_stream_open(pair: Pair) -> None:
    relay = pair.leading.plane.sessions.relay
    async with pair.agent.credential.channel(pair.leading.address) as channel:
        call = pair.following.stub.Logs(pb.LogsRequest(name="web", follow=True))
        reading = asyncio.ensure_future(call.read())
        await pair.agent.wait_until(lambda it: bool(it.asks))
        answer = sessions_pb2_grpc.SessionsStub(channel).Answer()
        await answer.write(agents.pb.AnswerUp(id=pair.agent.asks[0].id))
        await answer.write(agents.pb.AnswerUp(log=pb.LogLine(text=b"one")))
        assert (await reading).text == b"one"
        call.cancel()
        async with asyncio.timeout(agents.WAIT_SECONDS):
            assert await answer.read() is aio.EOF, "the node is told that nobody listens any more"
    assert not relay._streams


async def test_what_only_the_leader_knows_is_shown_by_a_follower_too(pair: Pair) -> None:
    name = ServiceName("default", "web")
    pair.leading.plane.flow.take([RevisionTraffic(name, 1, requests=7)], 0, time.monotonic())
    asked = pb.GetRequest(kinds=["services"], names=["web"], namespace="default")

    reply = await pair.following.stub.Get(asked)

    assert [each.requests for each in reply.objects[0].service.traffic] == [7]


async def test_a_follower_shows_what_it_has_when_nobody_leads(pair: Pair) -> None:
    asked = pb.GetRequest(kinds=["services"], names=["web"], namespace="default")
    await pair.leading.plane.listeners.stop()

    reply = await pair.following.stub.Get(asked)

    assert reply.objects[0].service.service.name.name == "web"
