"""Which links, routes and namespaces a node should have, and what to do to get there.

A task's place is a *slot*: a network namespace, a link from it to the bridge, and addresses.
Slots are named after their first address, so a listing explains itself and two slots cannot collide.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from agent.network.attachment import Peer

BRIDGE = "orch0"
_LINK = re.compile(r"orch([0-9a-f]{8,10})")


@dataclass(frozen=True, slots=True)
class Slot:
    """A task's place on the network, made ahead of need."""

    addresses: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file name of its namespace: the last ten hexadecimal digits of its first address."""
        return f"{int(ip_address(self.addresses[0])):08x}"[-10:]

    @property
    def link(self) -> str:
        """The outer end of its link."""
        return link_name(self.name)

    @property
    def mac(self) -> str:
        """Follows from the address, so that an address given again does not mislead its neighbours."""
        return mac_of(self.addresses[0])


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A subnet and the node through which it is reached."""

    destination: str
    gateway: str


@dataclass(frozen=True, slots=True)
class SeenLink:
    """A link that exists; `port` says that the bridge has it as a port."""

    name: str
    port: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What exists in the node's namespace and on its disk."""

    links: frozenset[SeenLink] = field(default=frozenset())
    routes: frozenset[Route] = field(default=frozenset())
    namespaces: frozenset[str] = field(default=frozenset())
    """Slot names with a living namespace."""
    files: frozenset[str] = field(default=frozenset())
    """Slot names with a file, whether a namespace is behind it or not."""

    def whole(self, slot: Slot) -> bool:
        """Whether a task can use the slot as it is."""
        return SeenLink(slot.link, port=True) in self.links and slot.name in self.namespaces


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Also changes the gateway of a route that exists."""

    route: Route


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Nothing is behind that node any more."""

    route: Route


@dataclass(frozen=True, slots=True)
class RemoveSlot:
    """Nobody's, or half made: its link, its namespace and its file go."""

    name: str


Operation = AddRoute | RemoveRoute | RemoveSlot


def link_name(slot: str) -> str:
    """The outer end of a slot's link; at most 14 characters of the kernel's 15."""
    return f"orch{slot}"


def mac_of(address: str) -> str:
    """A locally administered hardware address that follows from the last four bytes of an address."""
    tail = ip_address(address).packed[-4:]
    return ":".join(f"{byte:02x}" for byte in (0x0A, 0x6F, *tail))


def routes_to(peers: Iterable[Peer], own_address: str) -> frozenset[Route]:
    """A route for each subnet of each other node, of the family of that node's address."""
    return frozenset(
        Route(subnet, peer.address)
        for peer in peers
        for subnet in peer.subnets
        if peer.address != own_address and (":" in subnet) == (":" in peer.address)
    )


def route_changes(wanted: frozenset[Route], seen: frozenset[Route]) -> Iterator[Operation]:
    """New gateways replace old ones in place, so that a subnet that moves is never without a route."""
    taken_over = {route.destination for route in wanted}
    yield from (AddRoute(route) for route in sorted(wanted - seen))
    yield from (RemoveRoute(route) for route in sorted(seen - wanted) if route.destination not in taken_over)


def leftovers(wanted: Iterable[Slot], seen: Seen) -> Iterator[Operation]:
    """Everything of ours that is no whole slot of a task, whatever a kill left of it."""
    kept = {slot.name for slot in wanted if seen.whole(slot)}
    linked = {found[1] for link in seen.links if (found := _LINK.fullmatch(link.name))}
    yield from (RemoveSlot(name) for name in sorted((linked | seen.files) - kept))
