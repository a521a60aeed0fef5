"""What the machine gives without any of ours: containers as bare namespaces, wired by hand.

`one`: two on one bridge. `two`: each on a bridge of its own, as on two nodes, the bridges joined by a switch: as many
links as between containers of two nodes, and not one address looked at. `vxlan`: the same with a VXLAN device on each
of the bridges, as Docker's overlay has it, and no packet rule anywhere.
"""

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

MTU = 1500
_VXLAN_MTU = MTU - 50


@dataclass(frozen=True, slots=True)
class Pair:
    """Two namespaces, and the address of the second."""

    here: Path
    there: Path
    address: str


def one(closing: ExitStack, folder: Path) -> Pair:
    """On one bridge."""
    bridge = namespace(closing, folder / "one-bridge", "br")
    ends = [namespace(closing, folder / f"one-{number}") for number in (1, 2)]
    for number, end in enumerate(ends, 1):
        wire(bridge, "br", end, number, f"10.99.0.{number}/24")
    return Pair(ends[0], ends[1], "10.99.0.2")


def two(closing: ExitStack, folder: Path) -> Pair:
    """On two bridges, and a third between them."""
    switch = namespace(closing, folder / "two-switch", "br")
    ends = []
    for number in (1, 2):
        bridge = namespace(closing, folder / f"two-bridge-{number}", "br")
        wire(switch, "br", bridge, number, "")
        ip(bridge, "link set uplink master br")
        ends.append(namespace(closing, folder / f"two-{number}"))
        wire(bridge, "br", ends[-1], 9, f"10.99.0.{number}/24")
    return Pair(ends[0], ends[1], "10.99.0.2")


def vxlan(closing: ExitStack, folder: Path) -> Pair:
    """On two bridges, and VXLAN between them."""
    switch = namespace(closing, folder / "vx-switch", "br")
    ends = []
    for number in (1, 2):
        bridge = namespace(closing, folder / f"vx-bridge-{number}", "br")
        wire(switch, "br", bridge, number, f"192.0.2.{number}/24")
        ends.append(namespace(closing, folder / f"vx-{number}"))
        wire(bridge, "br", ends[-1], 9, f"10.99.0.{number}/24")
        other = f"remote 192.0.2.{3 - number} local 192.0.2.{number}"
        ip(bridge, f"link add vx mtu {_VXLAN_MTU} type vxlan id 9 dstport 4789 {other}")
        ip(bridge, "link set vx master br up")
        ip(ends[-1], f"link set uplink mtu {_VXLAN_MTU}")
        ip(bridge, f"link set port9 mtu {_VXLAN_MTU}")
    return Pair(ends[0], ends[1], "10.99.0.2")


def namespace(closing: ExitStack, path: Path, bridge: str = "") -> Path:
    """A network namespace that is a file."""
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "ip", "link", "set", "lo", "up"], check=True)
    closing.callback(subprocess.run, ["umount", str(path)], check=False)
    if bridge:
        ip(path, f"link add name {bridge} up type bridge")
    return path


def wire(switch: Path, bridge: str, netns: Path, number: int, address: str) -> None:
    """From a port of a bridge to the link `uplink` of another namespace."""
    here = f"port{number}"
    ip(switch, f"link add {here} mtu {MTU} type veth peer name uplink netns {netns}")
    ip(switch, f"link set {here} master {bridge} up")
    if address:
        ip(netns, f"address add {address} dev uplink")
    ip(netns, f"link set uplink mtu {MTU} up")


def ip(netns: Path, words: str) -> None:
    """The command, in there."""
    subprocess.run(["nsenter", f"--net={netns}", "ip", *words.split()], check=True)
