"""Where the network's bench takes place: machines on one switch, each a network namespace with an agent's network."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.bench import network_bare
from deploy.bench.network_node import Node


@dataclass(frozen=True, slots=True)
class Lab:
    """All there is."""

    folder: Path
    tunnelled: tuple[Node, ...]
    """Three nodes that reach each other through VXLAN."""
    routed: tuple[Node, ...]
    """Two that reach each other by plain route."""


@contextmanager
def opened(folder: Path) -> Iterator[Lab]:
    """`folder` is on a file system of the bench's own, in namespaces of its own."""
    with ExitStack() as closing:
        tunnelled = _machines(closing, folder, "vxlan", 3)
        routed = _machines(closing, folder, "route", 2)
        yield Lab(folder, tunnelled, routed)


def _machines(closing: ExitStack, folder: Path, mode: str, count: int) -> tuple[Node, ...]:
    switch = network_bare.namespace(closing, folder / f"{mode}-switch", "br")
    nodes = []
    for number in range(1, count + 1):
        netns = network_bare.namespace(closing, folder / f"{mode}-{number}")
        network_bare.wire(switch, "br", netns, number, f"192.0.2.{number}/24")
        subnet = f"10.208.{4 * number}.0/22"
        node = Node(netns, folder / f"{mode}-node-{number}", subnet, f"192.0.2.{number}", mode)
        closing.callback(node.close)
        nodes.append(node)
    for node in nodes:
        node.set_peers(nodes)
    return tuple(nodes)
