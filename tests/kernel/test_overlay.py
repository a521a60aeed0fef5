"""Tasks of nodes in different rooms reach each other through VXLAN, those of one room by plain routes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agent.network.attachment import Peer
from tests.kernel import routed_lab
from tests.kernel.network_lab import Machine, Node, ask, serving

pytestmark = pytest.mark.root

SUBNETS = ("10.208.4.0/22", "10.208.8.0/22", "10.208.12.0/22")
ADDRESSES = ("192.0.2.1", "192.0.2.2", "198.51.100.1")
"""Two in one room, and one in another."""


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    with routed_lab.rooms(*ADDRESSES, ipv6=True) as made:
        yield made


@contextmanager
def opened(machines: list[Machine], folder: Path, *modes: str, **underlay: object) -> Iterator[list[Node]]:
    """A node on each machine, each with its mode, and all know each other."""
    with ExitStack() as ending:
        nodes = []
        for number, (machine, subnet, mode) in enumerate(zip(machines, SUBNETS, modes, strict=False)):
            node = Node(machine, folder / str(number), subnet, mode=mode, **underlay)
            ending.callback(node.end)
            nodes.append(node)
        introduce(*nodes)
        yield nodes


def introduce(*nodes: Node) -> None:
    for node in nodes:
        node.set_peers(*(peer_of(each) for each in nodes if each is not node))


def peer_of(node: Node) -> Peer:
    return Peer(node.folder.name, node.machine.address, tuple(node.subnet.split()))


def assert_all_reach_all(nodes: list[Node]) -> None:
    """Tasks each other under their own addresses, and each node every task from its own address in the cluster."""
    tasks = [node.attach("web") for node in nodes]
    for server, node in zip(tasks, nodes, strict=True):
        with serving(server.netns, 80, node.folder.name):
            for client in tasks:
                if client is not server:
                    assert ask(client.netns, server.addresses[0], 80).endswith(client.addresses[0])
            for other in nodes:
                own = other.subnet.replace(".0/22", ".1")
                assert ask(other.machine.netns, server.addresses[0], 80).endswith(own)


def test_in_auto_mode_a_node_of_the_same_room_is_routed_to_and_others_are_tunnelled_to(
    machines: list[Machine], tmp_path: Path
) -> None:
    with opened(machines, tmp_path, "auto", "auto", "auto") as nodes:
        routes = nodes[0].machine.run("ip", "route")
        assert "10.208.8.0/22 via 192.0.2.2 dev uplink" in routes
        assert "10.208.12.0/22 via 10.208.12.1 dev orch-vxlan" in routes
        assert_all_reach_all(nodes)


@pytest.mark.parametrize(
    "modes",
    [("vxlan", "vxlan", "vxlan"), ("auto", "vxlan", "auto"), ("route", "vxlan"), ("vxlan", "route")],
)
def test_nodes_of_different_modes_understand_each_other(
    machines: list[Machine], tmp_path: Path, modes: tuple[str, ...]
) -> None:
    with opened(machines, tmp_path, *modes) as nodes:
        assert_all_reach_all(nodes)
