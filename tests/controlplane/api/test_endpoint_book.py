"""What nodes are told of services: the whole once, then what is different."""

from orch.v1 import control_pb2 as pb
from tests.support import agents, planes


def names(agent: agents.Agent) -> set[str]:
    return (
        {each.service.name for each in agent.told["endpoints"].services}
        if "endpoints" in agent.told
        else set()
    )


async def test_after_the_first_word_only_the_difference_is_told(running: planes.Running) -> None:
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service("web"), planes.a_service("api")))
    await agent.wait_until(
        lambda it: sum(e.ready for s in it.told["endpoints"].services for e in s.endpoints) == 2
    )
    await running.stub.Delete(pb.DeleteRequest(references=[pb.Reference(kind="service", name="web")]))
    await agent.wait_until(lambda it: names(it) == {"api"})

    assert agent.differences[0] == 0
    assert all(agent.differences[1:])
    assert agent.differences[1:] == agent.versions["endpoints"][:-1]


async def test_who_comes_later_is_told_the_whole(running: planes.Running) -> None:
    first = await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service("web"), planes.a_service("api")))
    await first.wait_until(lambda it: names(it) == {"web", "api"})

    second = await running.agent("n2")
    await second.wait_until(lambda it: names(it) == {"web", "api"})

    assert second.differences[0] == 0


async def test_a_node_without_the_base_is_told_the_whole(running: planes.Running) -> None:
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(planes.a_service("web")))
    await agent.wait_until(lambda it: names(it) == {"web"})
    wholes = agent.differences.count(0)

    agent.want_whole()

    await agent.wait_until(lambda it: it.differences.count(0) == wholes + 1)
    assert names(agent) == {"web"}
