"""Nodes in two rooms that know each other, for tests of what carries packets between them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agent.network.attachment import Peer
from tests.kernel.network_lab import Machine, Node, ask, run_in, serving

SUBNETS = ("10.208.4.0/22", "10.208.8.0/22", "10.208.12.0/22")
ADDRESSES = ("192.0.2.1", "192.0.2.2", "198.51.100.1")
"""Two in one room, and one in another."""


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


def mtu(netns: str, link: str = "eth0") -> int:
    return json.loads(run_in(netns, "ip", "-j", "link", "show", link))[0]["mtu"]
