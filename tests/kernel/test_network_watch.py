"""What an agent finds by itself of the network to another node, each fault made for real."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.network.attachment import Peer
from tests.kernel import network_lab
from tests.kernel.network_lab import Machine, Node

pytestmark = pytest.mark.root

SUBNETS = ("10.208.4.0/22", "10.208.8.0/22")
ONCE = "; orchctl net check says more"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with network_lab.lab("192.0.2.1/24", "192.0.2.2/24") as machines:
        made = [
            Node(machine, tmp_path / str(number), SUBNETS[number], mode="vxlan")
            for number, machine in enumerate(machines)
        ]
        try:
            made[0].set_peers(peer(made[1], 1))
            made[1].set_peers(peer(made[0], 0))
            yield made[0], made[1]
        finally:
            for node in made:
                node.end()


def peer(node: Node, number: int) -> Peer:
    return Peer(f"n{number}", node.machine.address, (SUBNETS[number],))


def look(nodes: tuple[Node, Node]) -> list[str]:
    other = nodes[1].machine.address
    peers = [{"node": "n1", "address": other, "subnets": [SUBNETS[1]]}]
    return list(nodes[0].call("look", nodes[0].machine.address, "10.208.4.1", peers))


@contextlib.contextmanager
def rule(machine: Machine, hook: str, words: str) -> Iterator[None]:
    machine.run("nft", "add table inet somebody")
    machine.run("nft", f"add chain inet somebody c {{ type filter hook {hook} priority 0; }}")
    machine.run("nft", f"add rule inet somebody c {words}")
    try:
        yield
    finally:
        machine.run("nft", "delete table inet somebody")


def test_a_network_that_is_well_is_no_problem(nodes: tuple[Node, Node]) -> None:
    assert look(nodes) == []


def test_a_blocked_vxlan_port_is_a_problem_while_it_lasts(nodes: tuple[Node, Node]) -> None:
    with rule(nodes[1].machine, "input", "udp dport 4789 drop"):
        words = "containers of n1 are not reached, though the node is: UDP port 4789 (VXLAN) is blocked"
        assert look(nodes) == [words + ONCE]
        assert look(nodes) == [words + ONCE], "the same words, so that it is one event"
    assert look(nodes) == []


def test_loss_is_a_problem(nodes: tuple[Node, Node]) -> None:
    with rule(nodes[1].machine, "input", "meta l4proto icmp numgen random mod 100 < 50 drop"):
        found = look(nodes)
    assert f"packets to n1 are lost{ONCE}" in found


def test_large_packets_that_do_not_arrive_are_a_problem(nodes: tuple[Node, Node]) -> None:
    with rule(nodes[1].machine, "input", 'iifname "uplink" meta length > 1300 drop'):
        assert look(nodes) == [
            f"large packets to containers of n1 do not arrive: the MTU on the way is too small{ONCE}"
        ]


def test_a_node_that_is_not_reached_any_more_is_a_problem_but_not_one_that_never_answers(
    nodes: tuple[Node, Node],
) -> None:
    with rule(nodes[1].machine, "input", "drop"):
        assert look(nodes) == []
    assert look(nodes) == []
    with rule(nodes[1].machine, "input", "drop"):
        assert look(nodes) == [f"n1 is not reached any more{ONCE}"]
