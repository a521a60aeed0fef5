"""Which entries of the kernel lead to the other nodes, and how large a packet may be (pure).

A node whose address is on a link that we share is reached by a plain route. All others are reached through one
VXLAN device: a route to the other node's own address in its subnet, a neighbour entry that says which hardware
address that has, and a forwarding entry that says behind which node that hardware address is. All three are
written from the cluster's node list: nobody ever asks by broadcast, and nothing is learned from packets.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network

from agent.network.attachment import Peer

VXLAN_PORT = 4789
VXLAN_VNI = 208
HEADERS_BYTES = {4: 50, 6: 70}
"""What VXLAN adds to a packet, by the family that carries it: inner Ethernet, VXLAN, UDP, IP."""


class Mode(StrEnum):
    """How packets go to other nodes."""

    AUTO = "auto"
    """By plain route where the other node's address is on a link of ours, else through VXLAN."""
    ROUTE = "route"
    VXLAN = "vxlan"


@dataclass(frozen=True, slots=True)
class Underlay:
    """What carries packets between nodes. Port and VNI are the same on all nodes of a cluster."""

    mode: Mode = Mode.AUTO
    port: int = VXLAN_PORT
    vni: int = VXLAN_VNI


@dataclass(frozen=True, slots=True)
class Way:
    """How the kernel reaches another node's address."""

    direct: bool
    """Over a link on which neighbours are asked for, and without a router between."""
    mtu: int
    link: str
    """By which it leaves."""


@dataclass(frozen=True, slots=True)
class Own:
    """The node itself."""

    address: str
    gateways: tuple[str, ...]
    """Its own address in each of its subnets: from there it speaks to tasks of other nodes."""
    subnets: tuple[str, ...]
    mtu: int
    """Of the link that carries its address."""
    trouble: str = ""
    """Why it has no VXLAN device."""


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A subnet of another node."""

    destination: str
    gateway: str
    source: str = ""
    """From which of its addresses the node itself speaks."""
    tunnel: bool = False
    """The gateway is behind the VXLAN device."""


@dataclass(frozen=True, slots=True, order=True)
class Neighbour:
    """The hardware address of a gateway behind the VXLAN device."""

    address: str
    mac: str


@dataclass(frozen=True, slots=True, order=True)
class Forwarding:
    """The node behind which a hardware address is."""

    mac: str
    node: str


@dataclass(frozen=True, slots=True)
class Entries:
    """What leads to other nodes."""

    routes: frozenset[Route] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    forwardings: frozenset[Forwarding] = frozenset()

    def __len__(self) -> int:
        return len(self.routes) + len(self.neighbours) + len(self.forwardings)


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be."""

    entries: Entries
    mtu: int
    """Of bridge and tasks: packets of this size pass between any two tasks of the cluster."""
    tunnel_mtu: int
    """Of the VXLAN device."""
    links: frozenset[str] = frozenset()
    """Those that carry VXLAN: other nodes may send plainly over them."""
    troubles: tuple[str, ...] = ()
    """Nodes that cannot be reached so, and what to do."""


@dataclass(frozen=True, slots=True)
class Changes:
    """From what is there to what should be. What is replaced in place is only in `add`."""

    add: Entries
    remove: Entries

    def __len__(self) -> int:
        return len(self.add) + len(self.remove)


def plan(own: Own, peers: Iterable[Peer], mode: Mode, ways: Mapping[str, Way]) -> Plan:
    """`ways` has each address of a peer that the kernel can reach."""
    routes: set[Route] = set()
    neighbours: set[Neighbour] = set()
    forwardings: set[Forwarding] = set()
    links: set[str] = set()
    troubles: list[str] = []
    headers = HEADERS_BYTES[_family(own.address)]
    mtu = own.mtu - headers if mode is Mode.VXLAN else own.mtu
    tunnel_mtu = own.mtu - headers
    for peer in peers:
        if peer.address == own.address:
            continue
        for subnet in peer.subnets:
            if subnet in own.subnets:
                continue
            match _passage(own, peer, subnet, mode, ways):
                case str() as trouble:
                    troubles.append(trouble)
                case Route() as route:
                    routes.add(route)
                    mtu = min(mtu, _size(ways, route.gateway, mtu))
                case (Route() as route, Neighbour() as neighbour, Forwarding() as forwarding):
                    routes.add(route)
                    neighbours.add(neighbour)
                    forwardings.add(forwarding)
                    tunnel_mtu = min(tunnel_mtu, _size(ways, forwarding.node, own.mtu) - headers)
                    mtu = min(mtu, tunnel_mtu)
                    links.update(way.link for way in [ways.get(forwarding.node)] if way)
    entries = Entries(frozenset(routes), frozenset(neighbours), frozenset(forwardings))
    return Plan(entries, mtu, tunnel_mtu, frozenset(links), tuple(dict.fromkeys(troubles)))


def changes(wanted: Entries, seen: Entries) -> Changes:
    """New values replace old ones in place, so that a subnet that moves is never without a route."""
    routed = {route.destination for route in wanted.routes}
    known = {neighbour.address for neighbour in wanted.neighbours}
    placed = {forwarding.mac for forwarding in wanted.forwardings}
    return Changes(
        Entries(
            wanted.routes - seen.routes,
            wanted.neighbours - seen.neighbours,
            wanted.forwardings - seen.forwardings,
        ),
        Entries(
            frozenset(each for each in seen.routes - wanted.routes if each.destination not in routed),
            frozenset(each for each in seen.neighbours - wanted.neighbours if each.address not in known),
            frozenset(each for each in seen.forwardings - wanted.forwardings if each.mac not in placed),
        ),
    )


def addresses(peers: Iterable[Peer]) -> Iterator[str]:
    """Every address of a peer that is one."""
    for peer in peers:
        yield from (each for each in (peer.address, *peer.others) if _is_address(each))


def tunnel_mac(subnets: Sequence[str]) -> str:
    """The hardware address of the VXLAN device of the node with these subnets: every node can work it out."""
    network = ip_network(subnets[0])
    if network.version == 4:
        tail = b"\x0a\x76" + network.network_address.packed
    else:
        tail = b"\x0e" + hashlib.sha256(network.network_address.packed).digest()[:5]
    return ":".join(f"{byte:02x}" for byte in tail)


def gateway(subnet: str) -> str:
    """The own address of the node that has this subnet."""
    return str(ip_network(subnet)[1])


def _passage(
    own: Own, peer: Peer, subnet: str, mode: Mode, ways: Mapping[str, Way]
) -> str | Route | tuple[Route, Neighbour, Forwarding]:
    """To one subnet of a peer; a sentence where there is none."""
    mine = (peer.address, *peer.others)
    strange = next((each for each in mine if not _is_address(each)), None)
    if strange is not None:
        return f"node {peer.node} says that it is reached at {strange!r}, which is no IP address: give its agent one"
    family = _family(subnet)
    source = next((each for each in own.gateways if _family(each) == family), "")
    near = next((each for each in mine if _family(each) == family), "")
    way = ways.get(near)
    if mode is Mode.ROUTE or (mode is Mode.AUTO and way is not None and way.direct):
        if not near:
            return (
                f"{subnet} of node {peer.node} has no route: the node has no IPv{family} address; start agents "
                "with --network-mode auto or vxlan, which carry it"
            )
        return Route(subnet, near, source)
    if own.trouble:
        return f"node {peer.node} cannot be reached: {own.trouble}"
    far = next((each for each in mine if _family(each) == _family(own.address)), "")
    if not far:
        return (
            f"node {peer.node} has no IPv{_family(own.address)} address, as this node has: give the agents of both "
            "an --address of one family"
        )
    mac, theirs = tunnel_mac(peer.subnets), gateway(subnet)
    return Route(subnet, theirs, source, tunnel=True), Neighbour(theirs, mac), Forwarding(mac, far)


def _size(ways: Mapping[str, Way], address: str, otherwise: int) -> int:
    way = ways.get(address)
    return way.mtu if way is not None and way.mtu else otherwise


def _family(text: str) -> int:
    return 6 if ":" in text else 4


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
