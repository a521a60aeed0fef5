"""The values that other rooms exchange with the network."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the node that leads to a port of one task."""

    host_ip: str
    """The node's address that is listened on; "" is any of them."""
    host_port: int
    target_port: int
    protocol: str = "tcp"
    """tcp or udp."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A task that has its place on the network."""

    task: str
    netns: str
    """The file to join the task's network namespace by."""
    addresses: tuple[str, ...]
    """One address of each family, without a prefix length."""
    gateway: str
    """The node's own address on the bridge: the task's way out, and its name server."""
    first_id: int = 0
    """What the host calls root of the user namespace that owns the network namespace; 0 in no case but tests."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, and the tasks' addresses that are reached through it."""

    node: str
    address: str
    """The other node's own address."""
    subnets: tuple[str, ...]
    others: tuple[str, ...] = ()
    """Its addresses of other families, where it has any."""


class NetworkError(Exception):
    """What could not be done, where, and what to do about it."""
