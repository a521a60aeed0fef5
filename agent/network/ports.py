"""Whether a port of the node is free for a task."""

import errno
import socket

from agent.network.attachment import NetworkError
from agent.network.rules import Door

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


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


def _sentence(door: Door, error: OSError) -> str:
    name = f"port {door.host_ip or '*'}:{door.port}/{door.protocol}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{name} of this node is in use by another process: stop it or choose another host port"
        case errno.EADDRNOTAVAIL:
            return f"{name} cannot be published: {door.host_ip} is not an address of this node"
        case _:
            return f"{name} of this node cannot be published: {error.strerror}"
