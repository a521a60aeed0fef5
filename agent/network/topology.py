"""Which links and namespaces a node should have for its tasks, and what to do to get there.

A task's place is a *slot*: a network namespace, a link from it to the bridge, and addresses.
Slots are named after their first address, so a listing explains itself and two slots cannot collide.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

BRIDGE = "orch0"
TUNNEL = "orch-vxlan"
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


@dataclass(frozen=True, slots=True)
class SeenLink:
    """A link that exists; `port` says that the bridge has it as a port."""

    name: str
    port: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What exists in the node's namespace and on its disk."""

    links: frozenset[SeenLink] = field(default=frozenset())
    namespaces: frozenset[str] = field(default=frozenset())
    """Slot names with a living namespace."""
    files: frozenset[str] = field(default=frozenset())
    """Slot names with a file, whether a namespace is behind it or not."""

    def whole(self, slot: Slot) -> bool:
        """Whether a task can use the slot as it is."""
        return SeenLink(slot.link, port=True) in self.links and slot.name in self.namespaces


@dataclass(frozen=True, slots=True)
class RemoveSlot:
    """Nobody's, or half made: its link, its namespace and its file go."""

    name: str


def link_name(slot: str) -> str:
    """The outer end of a slot's link; at most 14 characters of the kernel's 15."""
    return f"orch{slot}"


def slot_of(link: str) -> str:
    """The slot whose outer end has this name; "" for a link of anybody else."""
    found = _LINK.fullmatch(link)
    return found[1] if found else ""


def mac_of(address: str) -> str:
    """A locally administered hardware address that follows from the last four bytes of an address."""
    tail = ip_address(address).packed[-4:]
    return ":".join(f"{byte:02x}" for byte in (0x0A, 0x6F, *tail))


def leftovers(wanted: Iterable[Slot], seen: Seen) -> Iterator[RemoveSlot]:
    """Everything of ours that is no whole slot of a task, whatever a kill left of it."""
    kept = {slot.name for slot in wanted if seen.whole(slot)}
    linked = {slot for link in seen.links if (slot := slot_of(link.name))}
    yield from (RemoveSlot(name) for name in sorted((linked | seen.files) - kept))
