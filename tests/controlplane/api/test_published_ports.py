"""A port that every node listens on is one service's alone."""

from typing import Any

import pytest

from orch.model.policy import PortSpec
from orch.v1 import control_pb2 as pb
from tests.support import agents, planes


def publishing(
    name: str, *published: int, mode: Any = "ingress", host_ip: str = "", image: str = "web:1"
) -> Any:
    ports = tuple(PortSpec(target=80, published=each, mode=mode, host_ip=host_ip) for each in published)
    return planes.a_service(name, image=image, template={"ports": ports})


async def test_a_port_of_every_node_is_given_once(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(publishing("web", 30080)))

    said = await planes.refusal(running, publishing("api", 30080))

    assert (
        "service api: port 30080/tcp is published on every node by web: "
        "choose another port, or delete that service first" in said
    )
    assert "api" not in {name.name for name in running.plane.picture.cluster.services}


async def test_of_two_in_one_apply_too(running: planes.Running) -> None:
    assert "published on every node by api" in await planes.refusal(
        running, publishing("api", 30080), publishing("web", 30080)
    )


@pytest.mark.parametrize(("first", "second"), [("ingress", "host"), ("host", "ingress")])
async def test_also_where_one_of_them_publishes_on_its_tasks_nodes_only(
    running: planes.Running, first: str, second: str
) -> None:
    await running.stub.Apply(planes.applying(publishing("web", 30080, mode=first)))

    assert "port 30080/tcp is published on" in await planes.refusal(
        running, publishing("api", 30080, mode=second)
    )


async def test_on_different_addresses_of_the_nodes_both_may(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(publishing("web", 30080, host_ip="192.0.2.1")))
    await running.stub.Apply(planes.applying(publishing("api", 30080, host_ip="192.0.2.2")))

    assert "by api, " in (await planes.refusal(running, publishing("all", 30080))).replace(
        ": choose", ", choose"
    )


async def test_two_that_publish_on_their_tasks_nodes_are_warned_of(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(publishing("web", 30080, mode="host")))
    reply = await running.stub.Apply(planes.applying(publishing("api", 30080, mode="host")))

    assert "never placed on one node" in " ".join(reply.warnings)


async def test_a_port_is_free_again_when_its_service_changes_or_goes(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(publishing("web", 30080)))
    await running.stub.Apply(planes.applying(publishing("web", 30081)))
    await running.stub.Apply(planes.applying(publishing("api", 30080)))
    await running.stub.Delete(pb.DeleteRequest(references=[pb.Reference(kind="service", name="api")]))
    await running.stub.Apply(planes.applying(publishing("other", 30080)))

    await running.wait_until(lambda cluster: {name.name for name in cluster.services} == {"web", "other"})
    held = {words: holder.service for words, holder in running.plane.picture.cluster.claims["*"].items()}
    assert held == {"0.0.0.0:30080/tcp": "other", "0.0.0.0:30081/tcp": "web"}


async def test_a_port_that_may_be_gone_back_to_is_kept_until_the_new_revision_did_well(
    running: planes.Running,
) -> None:
    agent = await running.agent("n1")
    await running.stub.Apply(planes.applying(publishing("web", 30080)))
    await running.wait_until(lambda cluster: any(each.stable == 1 for each in cluster.rollouts.values()))
    agent.script = lambda _wanted, _template: []
    await running.stub.Apply(planes.applying(publishing("web", 30081)))
    assert "published on every node by web" in await planes.refusal(running, publishing("api", 30080))

    agent.script = agents.runs_well
    await running.stub.Apply(planes.applying(publishing("web", 30081, image="web:3")))
    await running.wait_until(lambda cluster: any(each.stable == 3 for each in cluster.rollouts.values()))
    await running.stub.Apply(planes.applying(publishing("api", 30080)))


async def test_the_same_service_applied_again_keeps_its_port(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(publishing("web", 30080)))
    await running.stub.Apply(planes.applying(publishing("web", 30080, image="web:2")))

    assert set(running.plane.picture.cluster.claims["*"]) == {"0.0.0.0:30080/tcp"}


async def test_a_port_of_who_is_pruned_is_free_for_who_is_applied(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(of_the_set(publishing("web", 30080))))

    reply = await running.stub.Apply(planes.applying(of_the_set(publishing("api", 30080)), prune=True))

    assert [(each.reference.name, each.action) for each in reply.objects] == [
        ("api", "created"),
        ("web", "deleted"),
    ]


def of_the_set(document: Any) -> Any:
    document.service.labels["orch/set"] = "shop"
    return document


async def test_a_revision_whose_port_another_has_now_is_not_gone_back_to(running: planes.Running) -> None:
    await running.agent("n1")
    await running.stub.Apply(planes.applying(publishing("web", 30080)))
    await running.stub.Apply(planes.applying(publishing("web", 30081)))
    await running.wait_until(lambda cluster: any(each.stable == 2 for each in cluster.rollouts.values()))
    await running.stub.Apply(planes.applying(publishing("api", 30080)))

    undo = pb.RolloutRequest(service={"namespace": "default", "name": "web"}, verb="undo", to_revision=1)

    _, words = await planes.refused(running.stub.Rollout(undo))

    assert "port 30080/tcp is published on every node by api" in words
