"""Doors of services that a process of the node, or its HTTP routes, have: left out, and named, until then (pure)."""

from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address

from agent.network.rules import Door
from agent.network.services import reserved
from agent.network.services.difference import Change
from agent.network.services.groups import Form, Group, Key

_PROTOCOLS = {6: "tcp", 17: "udp"}


class Admission:
    """Which groups stay outside."""

    def __init__(self) -> None:
        """None so far."""
        self.outside: dict[Key, Group] = {}
        self._reserved: frozenset[int] = frozenset()

    def reserve(self, ports: frozenset[int], inside: Mapping[Key, Group]) -> Iterator[tuple[Key, Change]]:
        """From now on these are the ports of HTTP routes; of the groups `inside`, those to be admitted anew."""
        new, self._reserved = ports - self._reserved, ports
        if new:
            for key, group in inside.items():
                if int.from_bytes(key.fields[-4:-2], "big") in new and key not in self.outside:
                    yield key, (group, group)

    def admit(
        self, changes: Mapping[Key, Change], virtual: Callable[[Key], bool], taken: Callable[[Door], bool]
    ) -> dict[Key, Change]:
        """The changes as the kernel is to see them: what is outside is not there."""
        admitted: dict[Key, Change] = {}
        for key, group in self.outside.items():
            if key not in changes and not self._is_reserved(key) and not taken(door(key)):
                admitted[key] = (None, group)
        for key in admitted:
            del self.outside[key]
        for key, (before, after) in changes.items():
            known = None if self.outside.pop(key, None) is not None else before
            if after is None or virtual(key):
                admitted[key] = (known, after)
            elif self._is_reserved(key):
                self.outside[key] = after
                if known is not None:
                    admitted[key] = (known, None)
            elif known is None and taken(door(key)):
                self.outside[key] = after
            else:
                admitted[key] = (known, after)
        return admitted

    def problems(self) -> tuple[str, ...]:
        """A sentence for each door that is left out."""
        keys = sorted(self.outside, key=lambda each: each.fields)
        return tuple(
            reserved.why_not(door(key)) if self._is_reserved(key) else _sentence(door(key)) for key in keys
        )

    def _is_reserved(self, key: Key) -> bool:
        return reserved.is_reserved(door(key), self._reserved)


def door(key: Key) -> Door:
    """A published port, as a person would call it."""
    place = str(IPv4Address(key.fields[:4])) if key.form is Form.AT else ""
    return Door(place, _PROTOCOLS[key.fields[-8]], int.from_bytes(key.fields[-4:-2], "big"))


def _sentence(each: Door) -> str:
    name = f"port {each.host_ip or '*'}:{each.port}/{each.protocol}"
    return (
        f"{name} is published by a service but in use by another process of this node, which goes on to have it here: "
        "stop that process or publish another port"
    )
