"""Which images a node is told to keep, and what it says of those that it removed."""

from orch.v1 import sessions_pb2
from tests.support import planes


async def test_a_node_keeps_the_images_its_services_may_go_back_to(running: planes.Running) -> None:
    agent = await running.agent("n1")
    for tag in ("1", "2"):
        await running.stub.Apply(planes.applying(planes.a_service("web", image=f"web:{tag}")))
    await running.stub.Apply(planes.applying(planes.a_service("idle", image="idle:1", replicas=0)))

    await agent.wait_until(lambda it: len(it.told["tasks"].kept_images) == 2)

    assert list(agent.told["tasks"].kept_images) == ["web:1", "web:2"]


async def test_what_happened_on_a_node_becomes_an_event(running: planes.Running) -> None:
    agent = await running.agent("n1")
    event = sessions_pb2.NodeEvent(reason="ImagesRemoved", message="removed 1 image")
    beat = sessions_pb2.Heartbeat(sequence=1, happened=[event])

    agent._up.put_nowait(sessions_pb2.SessionUp(heartbeat=beat))

    def told() -> list[tuple[str, str]]:
        events = running.plane.picture.events.values()
        return [(each.object, each.message) for each in events if each.reason == "ImagesRemoved"]

    await running.wait_until(lambda _cluster: told() == [("node/n1", "removed 1 image")])
