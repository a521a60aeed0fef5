"""Which task a user's connection leads to, and to which of its ports."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode

from orch import wire
from orch.model.names import TaskId
from orch.model.policy import PortSpec
from orch.model.task import TaskState
from orch.v1 import control_pb2 as pb
from orch.v1 import sessions_pb2, sessions_pb2_grpc
from tests.support import agents, planes

PORTS = (
    PortSpec(name="http", target=8080, port=80),
    PortSpec(name="admin", target=9000),
    PortSpec(name="dns", target=53, protocol="udp"),
)


@pytest.fixture
async def agent(running: planes.Running) -> agents.Agent:
    """It runs web.1 and web.2."""
    found = await running.agent("n1")
    service = planes.a_service(replicas=2, template={"ports": PORTS})
    await running.stub.Apply(planes.applying(service))
    await running.ready(2)
    return found


async def looked(running: planes.Running, **start: Any) -> tuple[str, int]:
    """Where it would lead."""

    async def ask() -> AsyncIterator[Any]:
        yield pb.ForwardInput(start=pb.ForwardStart(look=True, **start))

    async for output in running.stub.PortForward(ask()):
        return output.opened.name, output.opened.target
    raise AssertionError("no answer")


@pytest.mark.parametrize(
    ("name", "port", "found"),
    [
        ("web", "http", ("web.1.1", 8080)),
        ("web", "80", ("web.1.1", 8080)),
        ("web", "9000", ("web.1.1", 9000)),
        ("web", "4321", ("web.1.1", 4321)),
        ("web.2", "80", ("web.2.1", 80)),
        ("web.2", "admin", ("web.2.1", 9000)),
        ("web.2.1", "http", ("web.2.1", 8080)),
    ],
)
async def test_a_service_has_the_ports_of_its_address_and_a_task_its_own(
    running: planes.Running, agent: agents.Agent, name: str, port: str, found: tuple[str, int]
) -> None:
    assert await looked(running, name=name, port=port) == found


@pytest.mark.parametrize(
    ("name", "port", "code", "words"),
    [
        ("nope", "80", StatusCode.NOT_FOUND, "there is no service or task nope in namespace default"),
        ("web", "https", StatusCode.NOT_FOUND, "web has no port named https; it has http, admin, dns"),
        ("web", "dns", StatusCode.INVALID_ARGUMENT, "only tcp can be forwarded"),
        ("web", "70000", StatusCode.INVALID_ARGUMENT, "ports are 1 to 65535"),
    ],
)
async def test_what_leads_nowhere_is_said_at_once(
    running: planes.Running, agent: agents.Agent, name: str, port: str, code: StatusCode, words: str
) -> None:
    answered, said = await planes.refused(looked(running, name=name, port=port))
    assert answered is code
    assert words in said


async def test_a_user_stays_with_a_task_until_another_is_better(
    running: planes.Running, agent: agents.Agent
) -> None:
    second = next(task for task in agent.said if task.slot == 2)
    assert await looked(running, name="web", port="80", task=second.key) == ("web.2.1", 8080)

    agent.say(agent.status(second, TaskState.RUNNING, ready=False))
    await running.wait_until(lambda cluster: not cluster.statuses[second].ready)
    assert await looked(running, name="web", port="80", task=second.key) == ("web.1.1", 8080)


async def test_a_connection_reaches_the_node_and_comes_back(
    running: planes.Running, agent: agents.Agent
) -> None:
    async def inputs() -> AsyncIterator[Any]:
        yield pb.ForwardInput(start=pb.ForwardStart(name="web.2", port="http"))
        yield pb.ForwardInput(data=b"hello")
        yield pb.ForwardInput(closed=True)

    async def echo() -> None:
        await agent.wait_until(lambda it: bool(it.asks))
        ask = agent.asks[0]
        assert ask.forward.target == 8080
        assert wire.from_wire(ask.task, TaskId).slot == 2
        async with agent.credential.channel(running.address) as channel:
            stub: Any = sessions_pb2_grpc.SessionsStub(channel)
            call = stub.Answer()
            await call.write(sessions_pb2.AnswerUp(id=ask.id))
            await say(call, opened=pb.ForwardOpened())
            async for down in call:
                if down.forward.closed:
                    break
                await say(call, data=down.forward.data.upper())
            await say(call, closed=True)
            await call.done_writing()
            async for _ in call:  # until it is heard: whoever hangs up takes back what is still on its way
                pass

    answering = asyncio.create_task(echo())
    outputs = [output async for output in running.stub.PortForward(inputs())]
    await answering

    assert [each.WhichOneof("kind") for each in outputs] == ["opened", "data", "closed"]
    assert (outputs[0].opened.name, outputs[0].opened.node) == ("web.2.1", "n1")
    assert outputs[1].data == b"HELLO"


async def say(call: Any, **kind: Any) -> None:
    await call.write(sessions_pb2.AnswerUp(forward=pb.ForwardOutput(**kind)))
