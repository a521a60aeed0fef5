"""What the kernel's tables should hold, from what the control plane says of the services (pure)."""

import ipaddress
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from agent.network.services.difference import Change
from agent.network.services.groups import Form, Group, Key, seated
from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints
from orch.model.names import ServiceName
from orch.model.policy import PortSpec

Groups = Mapping[Key, Group]


@dataclass(slots=True)
class Taken:
    """What a section changes."""

    changes: dict[Key, Change] = field(default_factory=dict)
    """Each group before and after, None where there is none."""
    gone: set[bytes] = field(default_factory=set)
    """Endpoints that are not even about to leave any more: they have died, or ended."""


ANYWHERE = frozenset({"", "0.0.0.0"})  # noqa: S104  words for every address
_PROTOCOLS = {"tcp": 6, "udp": 17}


class Wanted:
    """The last section, service by service: of the next one only what is new is looked at."""

    def __init__(self) -> None:
        """Of no section yet."""
        self._services: dict[ServiceName, tuple[ServiceEndpoints, dict[Key, Group]]] = {}
        self._groups: dict[Key, Group] = {}
        self._addresses: Counter[bytes] = Counter()

    @property
    def groups(self) -> Groups:
        """Of all services together; not to be changed."""
        return self._groups

    def take(self, section: EndpointSection, before: Groups) -> Taken:
        """`before` says who sat where in groups that this object has not seen."""
        taken = Taken()
        named = {each.service: each for each in section.services}
        for name in [name for name in self._services if name not in named]:
            self._put(ServiceEndpoints(name), before, taken)
            del self._services[name]
        for name, service in named.items():
            seen = self._services.get(name)
            if seen is None or (seen[0] is not service and seen[0] != service):
                self._put(service, before, taken)
        taken.gone.update(seat[:4] for group in before.values() for seat in group.seats)
        taken.gone = {each for each in taken.gone if not self.has(each)}
        return taken

    def has(self, address: bytes) -> bool:
        """Whether it is an endpoint's, ready or not."""
        return address in self._addresses

    def _put(self, service: ServiceEndpoints, before: Groups, taken: Taken) -> None:
        last, old = self._services.get(service.service) or (ServiceEndpoints(service.service), {})
        groups: dict[Key, Group] = {}
        for key, group in of_service(service):
            seats = old.get(key) or before.get(key)
            groups[key] = _reseated(group, seats) if seats is not None else group
        for key in old.keys() - groups.keys():
            self._forget(key, taken.changes)
        for key, group in groups.items():
            if old.get(key) != group:
                taken.changes[key] = (
                    taken.changes[key][0] if key in taken.changes else self._groups.get(key),
                    group,
                )
                self._groups[key] = group
        self._services[service.service] = (service, groups)
        self._count(last, service, taken)

    def _count(self, last: ServiceEndpoints, service: ServiceEndpoints, taken: Taken) -> None:
        had, has = _addresses(last), _addresses(service)
        self._addresses.update(has)
        self._addresses.subtract(had)
        for each in had - has:
            if not self._addresses[each]:
                del self._addresses[each]
                taken.gone.add(each)

    def _forget(self, key: Key, changed: dict[Key, Change]) -> None:
        if (group := self._groups.pop(key, None)) is not None:
            changed[key] = (changed[key][0] if key in changed else group, None)


def of_service(service: ServiceEndpoints) -> Iterator[tuple[Key, Group]]:
    """Its virtual addresses, and its doors. IPv4 so far."""
    ready = [(each, address) for each in service.endpoints if each.ready for address in _ipv4(each.addresses)]
    virtual = next(_ipv4(service.virtual_addresses), b"")
    seconds = math.ceil(service.network.session_affinity)

    def group(seats: Iterator[bytes], protocols: Collection[str]) -> Group:
        return Group(tuple(sorted(set(seats))), seconds, "udp" in protocols)

    if virtual:
        protocols = {port.protocol for port in service.ports} or {"udp"}  # who declares no ports has any
        yield Key(Form.VIRTUAL, virtual), group((address for _, address in ready), protocols)
    for number, port in enumerate(service.ports):
        behind = [(address, inside) for each, address in ready if (inside := _inside(each, number, port))]
        seats = [address + _half(inside) for address, inside in behind]
        outside = port.port or port.target
        if virtual and (len(behind) < len(ready) or any(inside != outside for _, inside in behind)):
            yield Key(Form.AT, virtual + _door(port.protocol, outside)), group(iter(seats), {port.protocol})
        if port.is_ingress:
            yield published(port), group(iter(seats), {port.protocol})


def published(port: PortSpec) -> Key:
    """The door of a published port."""
    door = _door(port.protocol, port.published)
    if port.host_ip in ANYWHERE:
        return Key(Form.ANY, door)
    return Key(Form.AT, ipaddress.IPv4Address(port.host_ip).packed + door)


def _inside(endpoint: Endpoint, number: int, port: PortSpec) -> int:
    """The port in the endpoint; 0 where it has none."""
    return endpoint.targets[number] if endpoint.targets else port.target


def _reseated(group: Group, before: Group) -> Group:
    return replace(group, seats=seated(before.seats, group.seats))


def _addresses(service: ServiceEndpoints) -> set[bytes]:
    return {address for each in service.endpoints for address in _ipv4(each.addresses)}


def _ipv4(addresses: tuple[str, ...]) -> Iterator[bytes]:
    """Packed. The library's way takes ten times as long, for which a large cluster would wait a second."""
    return (bytes(map(int, each.split("."))) for each in addresses if ":" not in each)


def _door(protocol: str, port: int) -> bytes:
    return bytes((_PROTOCOLS[protocol], 0, 0, 0)) + _half(port)


def _half(port: int) -> bytes:
    return port.to_bytes(2, "big") + b"\0\0"
