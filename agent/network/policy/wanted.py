"""What the kernel should hold: who is in which set, and which chain judges whose packets (pure).

A service that was not told anew is not looked at again: a section of 10,000 services costs what changed in it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.network.policy import limits
from agent.network.policy.limits import Chain, Limits
from orch.model.assignment import ServiceEndpoints
from orch.model.names import ServiceName

KNOWN, SELF = "known", "itself"
"""Every task's address; and pairs of the same address, since rules cannot compare."""

Element = tuple[str, tuple[str, ...]]
"""A set or map, and the addresses of the key."""
Elements = dict[Element, str]
"""Of a map, the chain that the element leads to; of a set, empty."""


Holder = ServiceName | str
"""Who gives an element: a service, or an address of this node."""


@dataclass(slots=True)
class Book:
    """What was told of services, and who is where on this node."""

    services: dict[ServiceName, ServiceEndpoints] = field(default_factory=dict)
    limits: dict[ServiceName, Limits] = field(default_factory=dict)
    """Only those that have some."""
    chains: dict[str, Chain] = field(default_factory=dict)
    """Those that are needed, by name."""
    owners: Mapping[str, ServiceName] = field(default_factory=dict)
    """Whose a task of this node is, by its key. What is not in it is no service's: a build."""
    local: dict[str, str] = field(default_factory=dict)
    """Address → key of a task of this node, which knows best who has it."""
    uses: Counter[str] = field(default_factory=Counter)
    """How many services use each chain."""

    def told(self, services: tuple[ServiceEndpoints, ...]) -> set[ServiceName]:
        """Takes over what was told; which services are different now."""
        before, self.services = self.services, {each.service: each for each in services}
        changed = before.keys() - self.services.keys()
        changed |= {name for name, each in self.services.items() if before.get(name) is not each}
        for name in changed:
            found = self.services.get(name)
            self._limit(name, limits.of(name, found.network) if found else limits.NONE)
        return changed

    def in_sets(self, sets: frozenset[str]) -> set[ServiceName]:
        """Services whose tasks are in one of these sets."""
        if not sets:
            return set()
        return {name for name in self.services if not sets.isdisjoint(limits.sets_of(name))}

    def elements(self, is_ours: "IsOurs") -> dict[Holder, Elements]:
        """All of it, by who gives it."""
        sets = limits.sets_in(self.chains.values())
        found: dict[Holder, Elements] = {name: self.of_service(name, sets, is_ours) for name in self.services}
        return found | {address: self.of_local(address, sets) for address in self.local}

    def _limit(self, name: ServiceName, limited: Limits) -> None:
        before = self.limits.pop(name, limits.NONE)
        if limited != limits.NONE:
            self.limits[name] = limited
        for chain in limited.chains():
            self.uses[chain.name] += 1
            self.chains[chain.name] = chain
        for chain in before.chains():
            self.uses[chain.name] -= 1
            if not self.uses[chain.name]:
                del self.uses[chain.name], self.chains[chain.name]

    def of_service(self, name: ServiceName, sets: frozenset[str], is_ours: "IsOurs") -> Elements:
        """Of its tasks on other nodes."""
        service = self.services.get(name)
        if service is None or not self.limits:
            return {}
        found = dict(self._of_service(service, sets))
        for endpoint in service.endpoints:
            for address in endpoint.addresses:
                if ":" not in address and not is_ours(address):
                    found.update(self._of_task(name, address, sets))
        return found

    def of_local(self, address: str, sets: frozenset[str]) -> Elements:
        """Of a task of this node. One of whose service we were told nothing reaches nobody, and is not reached."""
        if address not in self.local or ":" in address:
            return {}
        owner = self.owners.get(self.local[address])
        if owner is None:
            return {(KNOWN, (address,)): ""} if self.limits else {}
        if owner not in self.services:
            return {(str(way), (address,)): limits.UNKNOWN for way in limits.Way}
        return dict(self._of_task(owner, address, sets)) if self.limits else {}

    def _of_service(self, service: ServiceEndpoints, sets: frozenset[str]) -> Iterator[tuple[Element, str]]:
        """Its virtual addresses stand for its tasks, so that who may not come is told before one is chosen."""
        limited = self.limits.get(service.service)
        for address in service.virtual_addresses:
            if ":" in address:
                continue
            yield from (((each, (address,)), "") for each in limits.sets_of(service.service) if each in sets)
            if limited is not None and limited.into is not None:
                yield (str(limits.Way.INTO), (address,)), limited.into.name

    def _of_task(
        self, name: ServiceName, address: str, sets: frozenset[str]
    ) -> Iterator[tuple[Element, str]]:
        yield (KNOWN, (address,)), ""
        for each in limits.sets_of(name):
            if each in sets:
                yield (each, (address,)), ""
        limited = self.limits.get(name)
        if limited is None:
            return
        yield (SELF, (address, address)), ""
        for chain in limited.chains():
            yield (str(chain.way), (address,)), chain.name


class IsOurs:
    """Whether an address is of this node's tasks."""

    def __init__(self, prefixes: Mapping[int, int]) -> None:
        """Mask → network, as numbers, so that a hundred thousand addresses are asked quickly."""
        self._prefixes = prefixes

    def __call__(self, address: str) -> bool:
        number = _number(address)
        return any(number & mask == network for mask, network in self._prefixes.items())


def _number(address: str) -> int:
    one, two, three, four = address.split(".")
    return int(one) << 24 | int(two) << 16 | int(three) << 8 | int(four)
