"""Hears of links and routes that change under us: an uplink that goes down takes its routes along, unasked.

What it hears is only a reason to look again; nothing is read out of it but whether it can matter.
"""

import asyncio
import socket
from collections.abc import Callable

from agent.network import entries, kernel
from agent.network.topology import slot_of

_RTMGRP_LINK, _RTMGRP_IPV4_ROUTE, _RTMGRP_IPV6_ROUTE = 0x1, 0x40, 0x400
_GROUPS = _RTMGRP_LINK | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_ROUTE
_RECEIVE_BYTES = 1 << 16


class Watch:
    """Of the network namespace in which it was opened, on the event loop."""

    def __init__(self, heard: Callable[[], None]) -> None:
        """`heard` is called for each reason to look again."""
        self._heard = heard
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
        )
        self._socket.bind((0, _GROUPS))
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """Idempotent."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:  # more was said than we took in: anything may have been
            self._heard()
            return
        if any(_matters(kind, body) for kind, body in kernel.messages(data)):
            self._heard()


def _matters(kind: int, body: bytes) -> bool:
    """Links of tasks come and go all day, and so do routes of others."""
    if kind in (entries.RTM_NEWLINK, entries.RTM_DELLINK):
        return not slot_of(entries.name(body))
    return kind == entries.RTM_DELROUTE and entries.is_ours(body)
