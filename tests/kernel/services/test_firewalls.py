"""Firewalls of the host that drop what is forwarded: named, with what helps."""

import pytest

from tests.kernel.network_lab import Machine, Node, ask
from tests.kernel.services_lab import ALONE, WEB, service, serving_on, tell

pytestmark = pytest.mark.root

FIREWALLS = {
    "Docker": (
        "iptables",
        "-N DOCKER-USER; -P FORWARD DROP; -A FORWARD -j DOCKER-USER",
        "iptables -I DOCKER-USER",
    ),
    "ufw": (
        "iptables",
        "-N ufw-user-forward; -P FORWARD DROP; -A FORWARD -j ufw-user-forward",
        "ufw route allow",
    ),
    "iptables-legacy": ("iptables-legacy", "-P FORWARD DROP", "iptables -I FORWARD"),
}


@ALONE
@pytest.mark.parametrize("firewall", FIREWALLS)
def test_a_firewall_of_the_host_that_drops_what_is_forwarded_is_named_and_what_helps_helps(
    nodes: tuple[Node, Node], machines: list[Machine], firewall: str
) -> None:
    program_, commands, remedy = FIREWALLS[firewall]
    node, task, client = nodes[0], nodes[0].attach("web"), nodes[1].attach("client")
    tell(nodes, service(task))
    assert node.call("problems") == []
    for command in commands.split("; "):
        machines[0].run(program_, *command.split())
    with serving_on("tcp", task):
        with pytest.raises(AssertionError, match="timed out"):
            ask(client.netns, WEB, 80, patience_seconds=0.5)
        node.call("look_around")
        [problem] = node.call("problems")
        assert remedy in problem
        if firewall != "ufw":  # which is not installed here
            for command in problem.partition("`")[2].partition("`")[0].split(" && "):
                machines[0].run(program_, *command.split()[1:])
            assert ask(client.netns, WEB, 80).startswith("web")
            node.call("look_around")
            assert node.call("problems") == []


@ALONE
def test_a_firewalld_that_does_not_know_the_bridge_is_named(nodes: tuple[Node, Node]) -> None:
    nodes[0].machine.run(
        "nft",
        "table inet firewalld { chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; "
        "reject with icmpx admin-prohibited; }; }",
    )
    nodes[0].call("look_around")

    assert "firewall-cmd --permanent --zone=trusted" in nodes[0].call("problems")[0]
