"""Where the network's bench takes place: machines on one switch, each a network namespace with an agent's network.

And two bare namespaces on a bridge, without any of ours: what the machine itself gives.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.bench.network_node import Node

MTU = 1500


@dataclass(frozen=True, slots=True)
class Lab:
    """All there is."""

    folder: Path
    bare: tuple[Path, Path]
    """Namespaces on one bridge; the second has the address BARE."""
    tunnelled: tuple[Node, ...]
    """Three nodes that reach each other through VXLAN."""
    routed: tuple[Node, ...]
    """Two that reach each other by plain route."""


BARE = "10.99.0.2"


@contextmanager
def opened(folder: Path) -> Iterator[Lab]:
    """`folder` is on a file system of the bench's own, in namespaces of its own."""
    with ExitStack() as closing:
        bare = _namespace(closing, folder / "bare-1"), _namespace(closing, folder / "bare-2")
        bridge = _namespace(closing, folder / "bare-bridge")
        _ip(bridge, "link add name br up type bridge")
        for number, netns in enumerate(bare, 1):
            _wire(bridge, "br", netns, number, f"10.99.0.{number}/24")
        tunnelled = _machines(closing, folder, "vxlan", 3)
        routed = _machines(closing, folder, "route", 2)
        yield Lab(folder, bare, tunnelled, routed)


def _machines(closing: ExitStack, folder: Path, mode: str, count: int) -> tuple[Node, ...]:
    switch = _namespace(closing, folder / f"{mode}-switch")
    _ip(switch, "link add name br up type bridge")
    nodes = []
    for number in range(1, count + 1):
        netns = _namespace(closing, folder / f"{mode}-{number}")
        _wire(switch, "br", netns, number, f"192.0.2.{number}/24")
        subnet = f"10.208.{4 * number}.0/22"
        node = Node(netns, folder / f"{mode}-node-{number}", subnet, f"192.0.2.{number}", mode)
        closing.callback(node.close)
        nodes.append(node)
    for node in nodes:
        node.set_peers(nodes)
    return tuple(nodes)


def _namespace(closing: ExitStack, path: Path) -> Path:
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "ip", "link", "set", "lo", "up"], check=True)
    closing.callback(subprocess.run, ["umount", str(path)], check=False)
    return path


def _wire(switch: Path, bridge: str, netns: Path, number: int, address: str) -> None:
    here = f"port{number}"
    _ip(switch, f"link add {here} mtu {MTU} type veth peer name uplink netns {netns}")
    _ip(switch, f"link set {here} master {bridge} up")
    _ip(netns, f"address add {address} dev uplink")
    _ip(netns, f"link set uplink mtu {MTU} up")


def _ip(netns: Path, words: str) -> None:
    subprocess.run(["nsenter", f"--net={netns}", "ip", *words.split()], check=True)
