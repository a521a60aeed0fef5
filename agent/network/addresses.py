"""Who gets which address.

An address that was just given back goes to the end of the line: somebody may still be
talking to the one who had it.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network

from agent.network.attachment import NetworkError


class NoAddressLeftError(NetworkError):
    """Every address of a subnet is in use."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """The addresses of one family that a node may give to its tasks; the first is the node's own."""

    network: IPv4Network | IPv6Network

    @classmethod
    def parse(cls, text: str) -> "Subnet":
        """Accepts "10.208.4.0/22"; raises ValueError where host bits are set or no task would fit."""
        network = ip_network(text)
        if network.num_addresses < 4:
            raise ValueError(f"subnet {text} has no room for a task: use a /30 or larger")
        return cls(network)

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.network.version

    @property
    def gateway(self) -> str:
        """The node's own address, on the bridge."""
        return str(self.network[1])

    @property
    def own(self) -> str:
        """The node's own address with the prefix length: 10.208.4.1/22."""
        return f"{self.gateway}/{self.network.prefixlen}"

    def interface(self, address: str) -> IPv4Interface | IPv6Interface:
        """The address with the subnet's prefix length."""
        return ip_interface(f"{address}/{self.network.prefixlen}")

    def holds(self, address: str) -> bool:
        """Whether the address may be given to a task of this node."""
        own = ip_interface(address).ip
        return own.version == self.family and own in self.network and own not in self._kept()

    def hosts(self) -> Iterator[str]:
        """What tasks may get, in order."""
        kept = self._kept()
        return (str(address) for address in self.network if address not in kept)

    def _kept(self) -> frozenset[object]:
        return frozenset((self.network[0], self.network[1], self.network[-1]))


class Line:
    """One subnet's free addresses in the order in which they are given out."""

    def __init__(self, subnet: Subnet) -> None:
        """Everything is free."""
        self.subnet = subnet
        self._never_given = subnet.hosts()
        self._given_back: deque[str] = deque()
        self._in_use: set[str] = set()

    def take(self) -> str:
        """Raises NoAddressLeftError."""
        address = next(self._free(), None)
        if address is None:
            raise NoAddressLeftError(
                f"every address of {self.subnet.network} is in use ({len(self._in_use)}): "
                "run fewer tasks on this node, or give the cluster larger node subnets"
            )
        self._in_use.add(address)
        return address

    def keep(self, address: str) -> None:
        """The address is in use already, by a task from before a restart."""
        self._in_use.add(address)

    def give_back(self, address: str) -> None:
        """Giving back twice is harmless."""
        if address in self._in_use:
            self._in_use.discard(address)
            self._given_back.append(address)

    def _free(self) -> Iterator[str]:
        yield from (address for address in self._never_given if address not in self._in_use)
        while self._given_back:
            address = self._given_back.popleft()
            if address not in self._in_use:
                yield address


class Addresses:
    """The lines of all the node's subnets: a task gets one address of each."""

    def __init__(self, subnets: Sequence[Subnet]) -> None:
        """Everything is free."""
        self._lines = [Line(subnet) for subnet in subnets]

    def take(self) -> tuple[str, ...]:
        """One address of each subnet, or NoAddressLeftError and nothing taken."""
        taken: list[str] = []
        try:
            for line in self._lines:
                taken.append(line.take())  # noqa: PERF401  what was taken is needed when one fails
        except NoAddressLeftError:
            self.give_back(taken)
            raise
        return tuple(taken)

    def keep(self, addresses: Iterable[str]) -> None:
        """These are in use already."""
        for address in addresses:
            for line in self._lines:
                if line.subnet.holds(address):
                    line.keep(address)

    def give_back(self, addresses: Iterable[str]) -> None:
        """To the end of the line."""
        for address in addresses:
            for line in self._lines:
                line.give_back(address)
