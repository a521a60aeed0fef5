"""Doors of services that a process of the node has already: left out, and named, until it lets go (pure)."""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address

from agent.network.rules import Door
from agent.network.services.difference import Change
from agent.network.services.groups import Form, Group, Key

_PROTOCOLS = {6: "tcp", 17: "udp"}


class Admission:
    """Which groups stay outside."""

    def __init__(self) -> None:
        """None so far."""
        self.outside: dict[Key, Group] = {}

    def admit(
        self, changes: Mapping[Key, Change], virtual: Callable[[Key], bool], taken: Callable[[Door], bool]
    ) -> dict[Key, Change]:
        """The changes as the kernel is to see them: what is outside is not there."""
        admitted: dict[Key, Change] = {}
        for key, group in self.outside.items():
            if key not in changes and not taken(door(key)):
                admitted[key] = (None, group)
        for key in admitted:
            del self.outside[key]
        for key, (before, after) in changes.items():
            known = None if self.outside.pop(key, None) is not None else before
            if after is not None and known is None and not virtual(key) and taken(door(key)):
                self.outside[key] = after
            else:
                admitted[key] = (known, after)
        return admitted

    def problems(self) -> tuple[str, ...]:
        """A sentence for each door that is left out."""
        return tuple(_sentence(door(key)) for key in sorted(self.outside, key=lambda each: each.fields))


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
