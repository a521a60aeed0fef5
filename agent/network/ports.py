"""Whether a port of the node is free for a task."""

import errno
import socket
from ipaddress import ip_address

from agent.network.attachment import NetworkError, Published
from agent.network.rules import Door

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


ANYWHERE = "0.0.0.0"  # noqa: S104  another word for any address


def check_sense(published: Published) -> None:
    """Raises NetworkError where no packet rule could say it."""
    name = f"port {published.host_ip or '*'}:{published.host_port}/{published.protocol}"
    if published.protocol not in _KINDS:
        raise NetworkError(f"{name} cannot be published: the protocol must be tcp or udp")
    if not (1 <= published.host_port <= 65535 and 1 <= published.target_port <= 65535):
        raise NetworkError(f"{name} to {published.target_port} cannot be published: ports are 1 to 65535")
    if published.host_ip and not _is_ipv4(published.host_ip):
        raise NetworkError(f"{name} cannot be published: {published.host_ip} is not an IPv4 address")


def check_free(door: Door) -> None:
    """Raises NetworkError naming the port where a process of the node has it.

    Tries to bind it: rules would otherwise take packets away from that process, silently.
    """
    with socket.socket(socket.AF_INET, _KINDS[door.protocol]) as probe:
        if door.protocol == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((door.host_ip, door.port))
        except OSError as error:
            raise NetworkError(_sentence(door, error)) from error


def is_taken(door: Door) -> bool:
    """Whether a process of the node has it. An address that the node does not have yet may come to it."""
    try:
        check_free(door)
    except NetworkError as error:
        return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
    return False


def _is_ipv4(text: str) -> bool:
    try:
        return ip_address(text).version == 4
    except ValueError:
        return False


def _sentence(door: Door, error: OSError) -> str:
    name = f"port {door.host_ip or '*'}:{door.port}/{door.protocol}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{name} of this node is in use by another process: stop it or choose another host port"
        case errno.EADDRNOTAVAIL:
            return f"{name} cannot be published: {door.host_ip} is not an address of this node"
        case _:
            return f"{name} of this node cannot be published: {error.strerror}"
