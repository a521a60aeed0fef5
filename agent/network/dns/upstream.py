"""Whom to ask for names that are not the cluster's: the node's own resolvers."""

import os
import socket
import time
from collections.abc import Collection

PORT = 53
MOST_SERVERS = 3
"""As many as libc takes."""
FORGIVEN_AFTER_SECONDS = 10.0

Server = tuple[str, int]


class Resolvers:
    """The name servers of a resolv.conf; read again when the file changes."""

    def __init__(self, path: str, own: Collection[str]) -> None:
        """`own` are our addresses: asking ourselves would go round for ever."""
        self._path = path
        self._own = own
        self._seen: tuple[int, int, int] | None = None
        self._servers: tuple[Server, ...] = ()
        self._silent: dict[Server, float] = {}

    def servers(self) -> list[Server]:
        """In the order of the file; those that were silent a moment ago come last."""
        try:
            stat = os.stat(self._path)  # noqa: PTH116  pathlib is a megabyte
        except OSError:
            return []
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen != self._seen:
            self._seen = seen
            self._servers = read(self._path, self._own)
            self._silent.clear()
        if not self._silent:
            return list(self._servers)
        now = time.monotonic()
        return sorted(self._servers, key=lambda each: self._silent.get(each, 0.0) > now)

    def was_silent(self, server: Server) -> None:
        """It did not answer in time, or refused to."""
        self._silent[server] = time.monotonic() + FORGIVEN_AFTER_SECONDS

    def has_answered(self, server: Server) -> None:
        """It is well."""
        self._silent.pop(server, None)


def family(address: str) -> int:
    """The address family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def read(path: str, own: Collection[str]) -> tuple[Server, ...]:
    """The name servers of a file, without our own addresses; none where it cannot be read just now."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            text = file.read(65536)
    except OSError:
        return ()
    words = (line.split() for line in text.splitlines())
    found = (each[1] for each in words if len(each) > 1 and each[0] == "nameserver")
    kept = [
        (address, PORT) for address in dict.fromkeys(found) if address not in own and _is_address(address)
    ]
    return tuple(kept[:MOST_SERVERS])


def _is_address(text: str) -> bool:
    bare = text.partition("%")[0]
    try:
        socket.inet_pton(family(bare), bare)
    except OSError:
        return False
    return True
