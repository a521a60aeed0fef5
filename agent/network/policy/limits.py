"""What a service says of its network → the chains that judge its packets (pure).

A chain follows from the words alone: all services that say the same share it, and it never changes.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from orch.model import reach
from orch.model.names import ServiceName
from orch.model.network import NetworkSpec

UNKNOWN = "unknown"
"""The chain of tasks of which we were not told yet whom they may reach, and who may reach them."""


class Way(StrEnum):
    """Which of the two maps."""

    INTO = "into"
    OUT_OF = "out_of"


@dataclass(frozen=True, slots=True)
class Chain:
    """Judges what comes to a service, or what goes out of one."""

    way: Way
    members: tuple[str, ...]
    """Sets of addresses that are let through."""
    ranges: tuple[str, ...]
    """Ranges of addresses that are let through."""
    name: str
    """The same words have the same name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None where there is no limit."""

    into: Chain | None
    out_of: Chain | None

    def chains(self) -> Iterator[Chain]:
        """Those that there are."""
        return (each for each in (self.into, self.out_of) if each is not None)


NONE = Limits(None, None)


def of(service: ServiceName, network: NetworkSpec) -> Limits:
    """As its words say."""
    return Limits(
        _chain(Way.INTO, network.allow_from, service.namespace),
        _chain(Way.OUT_OF, network.egress, service.namespace),
    )


def sets_in(chains: Iterable[Chain]) -> frozenset[str]:
    """Sets that these chains ask."""
    return frozenset(name for each in chains for name in each.members)


def sets_of(service: ServiceName) -> tuple[str, str]:
    """Sets that a task of the service is in, where anybody asks for them."""
    return f"svc.{service.namespace}.{service.name}", f"ns.{service.namespace}"


def _chain(way: Way, words: tuple[str, ...], namespace: str) -> Chain | None:
    members, ranges = set(), set()
    for word in words:
        try:
            meant = reach.meant(word, namespace)
        except ValueError:
            continue  # a newer control plane knows more words; nobody is let through by one that we do not know
        match meant:
            case reach.Anybody() | reach.AsTheNamespace():
                return None
            case reach.OfService(service):
                members.add(sets_of(service)[0])
            case reach.OfNamespace(name):
                members.add(f"ns.{name}")
            case reach.Range(addresses) if ":" not in addresses:
                ranges.add(addresses)
    said = hashlib.sha256(" ".join((*sorted(members), *sorted(ranges))).encode()).hexdigest()
    return Chain(way, tuple(sorted(members)), tuple(sorted(ranges)), f"{way}-{said[:16]}")
