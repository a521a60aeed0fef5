"""The thin path: a user applies, a node is told, what it says comes back."""

from pathlib import Path

from orch.v1 import control_pb2 as pb
from tests.support import planes


async def test_an_applied_service_reaches_its_node_and_its_status_comes_back(tmp_path: Path) -> None:
    running = await planes.start(tmp_path)
    try:
        agent = await running.agent("n1")
        reply = await running.stub.Apply(planes.applying(planes.a_service("web", replicas=3)))
        assert [each.action for each in reply.objects] == ["created"]
        await agent.wait_until(lambda it: len(it.tasks()) == 3)
        await running.ready(3)
        got = await running.stub.Get(pb.GetRequest(kinds=["services"]))
        assert (got.objects[0].service.ready, got.objects[0].service.desired) == (3, 3)
    finally:
        await running.stop()
