"""Published ports: open on every node that may open them, whichever node the tasks are on."""

import pytest

from agent.network.attachment import NetworkError, Published
from orch.model.network import RouteSpec
from orch.model.policy import PortSpec
from tests.kernel.network_lab import Machine, Node, ask, serving
from tests.kernel.services_lab import (
    ALONE,
    BOTH_WAYS,
    PUBLISHED,
    QUICK_SECONDS,
    ask_often,
    refusal,
    service,
    serving_on,
    tell,
)

pytestmark = pytest.mark.root


@BOTH_WAYS
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_published_port_leads_from_any_node_to_any_task(
    nodes: tuple[Node, Node], machines: list[Machine], kind: str
) -> None:
    """A client keeps its address where the task is on the node that it asked, and inside the cluster."""
    here, there = nodes[0].attach("here"), nodes[1].attach("there")
    ports = (PortSpec(target=80, published=8080, mode="ingress", protocol=kind),)
    tell(nodes, service(here, there, ports=ports))
    one, two, outside = machines

    with serving_on(kind, here, there):
        seen_from = {
            "outside": ask_often(outside.netns, one.address, 8080, 24, kind),
            "outside, the other node": ask_often(outside.netns, two.address, 8080, 24, kind),
            "localhost": ask_often(one.netns, "127.0.0.1", 8080, 24, kind),
            "the node's address": ask_often(one.netns, one.address, 8080, 24, kind),
            "a task of that node": ask_often(here.netns, one.address, 8080, 24, kind),
        }

    assert {each: set(answers) for each, answers in seen_from.items()} == {
        "outside": {f"here {outside.address}", "there 10.208.4.1"},
        "outside, the other node": {"here 10.208.8.1", f"there {outside.address}"},
        "localhost": {"here 10.208.4.1", "there 10.208.4.1"},
        "the node's address": {f"here {one.address}", "there 10.208.4.1"},
        "a task of that node": {"here 10.208.4.1", f"there {here.addresses[0]}"},
    }


def test_a_node_without_a_task_of_the_service_leads_to_the_others(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    there = nodes[1].attach("there")
    tell(nodes, service(there, ports=PUBLISHED))

    with serving_on("tcp", there):
        assert ask(machines[0].netns, "127.0.0.1", 8080) == "there 10.208.4.1"
        assert ask(machines[2].netns, machines[0].address, 8080) == "there 10.208.4.1"
    tell(nodes, service(there, ready=False, ports=PUBLISHED))
    assert refusal(machines[2].netns, machines[0].address, 8080) < QUICK_SECONDS


@ALONE
def test_what_lets_localhost_out_lets_nobody_in(nodes: tuple[Node, Node], machines: list[Machine]) -> None:
    there = nodes[1].attach("there")
    tell(nodes, service(there, ports=PUBLISHED))
    stranger = machines[2]
    stranger.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    stranger.run("ip", "route", "delete", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
    stranger.run("ip", "route", "add", "127.0.0.9/32", "via", machines[0].address)

    with serving(machines[0].netns, 99, "private", host="127.0.0.9"):
        with pytest.raises(AssertionError, match="timed out"):
            ask(stranger.netns, "127.0.0.9", 99, patience_seconds=0.5)
        machines[0].run("nft", "flush", "chain", "ip", "orch", "coming")
        assert ask(stranger.netns, "127.0.0.9", 99).startswith("private"), "the guard is what kept it out"


def test_a_port_published_on_one_address_is_open_on_no_other(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    task = nodes[1].attach("web")
    tell(
        nodes,
        service(task, ports=(PortSpec(target=80, published=8080, mode="ingress", host_ip="127.0.0.1"),)),
    )

    with serving_on("tcp", task):
        for machine in machines[:2]:
            assert ask(machine.netns, "127.0.0.1", 8080).startswith("web")
            assert refusal(machines[2].netns, machine.address, 8080) < QUICK_SECONDS


def test_a_port_that_a_process_of_one_node_has_is_named_there_and_open_elsewhere(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    task = nodes[0].attach("web")
    other = service(
        task, name="other", address="10.224.0.6", ports=(PortSpec(target=80, published=8081, mode="ingress"),)
    )

    with serving_on("tcp", task):
        with serving(machines[0].netns, 8080, "process"):
            tell(nodes, service(task, ports=PUBLISHED), other)
            assert ask(machines[2].netns, machines[0].address, 8080).startswith("process")
            assert ask(machines[2].netns, machines[0].address, 8081).startswith("web")
            assert ask(machines[2].netns, machines[1].address, 8080).startswith("web")
            assert "port *:8080/tcp" in " ".join(nodes[0].call("problems"))
            assert nodes[1].call("problems") == []
        tell(nodes, service(task, ports=PUBLISHED), other)
        assert nodes[0].call("problems") == []
        assert ask(machines[2].netns, machines[0].address, 8080).startswith("web")


def test_where_routes_are_served_a_published_port_is_not_led_away(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    """Whichever came first; the lab's nodes serve routes on port 8070."""
    task, door = nodes[0].attach("web"), (PortSpec(target=80, published=8070, mode="ingress"),)
    published = service(task, ports=door)
    routed = service(task, name="shop", address="10.224.0.6", routes=(RouteSpec(host="a.test"),))

    with serving_on("tcp", task), serving(machines[1].netns, 8070, "proxy"):
        tell(nodes, published)
        assert ask(machines[2].netns, machines[0].address, 8070).startswith("web")
        tell(nodes, published, routed)
        assert ask(machines[2].netns, machines[1].address, 8070).startswith("proxy")
        refusal(machines[2].netns, machines[0].address, 8070)
        assert "this node serves HTTP routes there" in " ".join(nodes[0].call("problems"))
        with pytest.raises(NetworkError, match="this node serves HTTP routes there"):
            nodes[0].publish("web", Published("", 8070, 80, "tcp"))
        tell(nodes, published)
        assert ask(machines[2].netns, machines[0].address, 8070).startswith("web")
        assert nodes[0].call("problems") == []
