"""A task leaves every node's tables before it is told to end."""

from controlplane.api.leaving import Leaving
from orch.model.names import TaskId
from orch.v1 import control_pb2 as pb
from tests.support import agents, planes

A, B = TaskId("default", "web", 1, 1, 1), TaskId("default", "web", 1, 2, 1)


def test_whoever_left_is_let_go_of_when_every_node_has_the_endpoints_without_it() -> None:
    leaving = Leaving()
    leaving.left([A], now=0)
    leaving.sent(7)

    assert leaving.settle({"n1": 7, "n2": 6}, silent=[], now=1) == []
    assert A in leaving
    assert leaving.settle({"n1": 7, "n2": 8}, silent=[], now=1) == [A]
    assert A not in leaving


def test_acknowledging_what_was_sent_before_does_not_count() -> None:
    leaving = Leaving()
    leaving.left([A], now=0)

    assert leaving.settle({"n1": 99}, silent=[], now=1) == []


def test_a_node_that_is_thought_to_live_is_waited_for_with_patience() -> None:
    leaving = Leaving(patience=5)
    leaving.left([A], now=0)
    leaving.sent(7)

    assert leaving.settle({"n1": 7}, silent=["n2"], now=4.9) == []
    assert leaving.next_due() == 5
    assert leaving.settle({"n1": 7}, silent=["n2"], now=5) == [A]


def test_who_comes_back_is_not_leaving() -> None:
    leaving = Leaving()
    leaving.left([A, B], now=0)
    leaving.came_back([B])
    leaving.sent(1)

    assert leaving.settle({}, silent=[], now=0) == [A]


def is_drained(agent: agents.Agent) -> bool:
    return any(each.wanted == "stop" and each.drained for each in agent.tasks())


async def test_a_task_is_said_to_have_drained_when_the_last_node_has_let_go_of_it(
    running: planes.Running,
) -> None:
    first, second = await running.agent("n1"), await running.agent("n2")
    await running.stub.Apply(planes.applying(planes.a_service()))
    await running.wait_until(lambda cluster: any(each.ready for each in cluster.statuses.values()))
    for agent in (first, second):
        await agent.wait_until(lambda it: any(s.endpoints for s in it.told["endpoints"].services))
        agent.script = lambda _wanted, _template: []
    runner, other = (first, second) if first.tasks() else (second, first)
    other.mute.add("endpoints")

    await running.stub.Delete(pb.DeleteRequest(references=[pb.Reference(kind="service", name="web")]))
    await runner.wait_until(lambda it: any(each.wanted == "stop" for each in it.tasks()))
    await other.wait_until(
        lambda it: not any(e.ready for s in it.told["endpoints"].services for e in s.endpoints)
    )
    assert not is_drained(runner)

    other.acknowledge("endpoints")
    await runner.wait_until(is_drained)


async def test_a_task_that_nobody_was_led_to_has_drained_at_once(running: planes.Running) -> None:
    agent = await running.agent("n1", script=lambda _wanted, _template: [])
    agent.mute.add("endpoints")
    await running.stub.Apply(planes.applying(planes.a_service()))
    await agent.wait_until(lambda it: bool(it.tasks()))

    await running.stub.Delete(pb.DeleteRequest(references=[pb.Reference(kind="service", name="web")]))

    await agent.wait_until(is_drained)
