"""What a node says is wrong with it becomes events."""

import asyncio

from orch.v1 import control_pb2
from orch.v1 import sessions_pb2 as pb
from tests.support import agents, planes

FULL = "the connection table of the kernel is full"


async def told(running: planes.Running, reason: str) -> str:
    """The message of the first such event, once it is there."""
    async with asyncio.timeout(agents.WAIT_SECONDS):
        while True:
            reply = await running.stub.Get(control_pb2.GetRequest(kinds=["events"]))
            for each in reply.objects:
                if each.event.reason == reason and each.event.object == "node/n1":
                    return f"{each.event.type} {each.event.message}"
            await asyncio.sleep(0.02)


async def test_a_problem_of_a_node_is_an_event_and_so_is_its_end(running: planes.Running) -> None:
    agent = await running.agent("n1")

    agent._up.put_nowait(pb.SessionUp(heartbeat=pb.Heartbeat(sequence=90, problems=[FULL])))
    assert await told(running, "NodeProblem") == f"Warning {FULL}"

    agent._up.put_nowait(pb.SessionUp(heartbeat=pb.Heartbeat(sequence=91)))
    assert await told(running, "NodeProblemOver") == f"Normal no more: {FULL}"
