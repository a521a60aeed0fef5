"""Whom to ask for names that are not the cluster's: the node's own resolvers."""

import socket
from collections.abc import Collection
from pathlib import Path

TIMEOUT_SECONDS = 2.0
PORT = 53


class Resolvers:
    """The name servers of a resolv.conf; read again when the file changes."""

    def __init__(self, path: Path, own: Collection[str]) -> None:
        """`own` are our addresses: asking ourselves would go round for ever."""
        self._path = path
        self._own = own
        self._seen: tuple[int, int] | None = None
        self._servers: tuple[tuple[str, int], ...] = ()

    def servers(self) -> tuple[tuple[str, int], ...]:
        """In the order of the file; at most three, as libc does."""
        try:
            stat = self._path.stat()
        except OSError:
            return ()
        if (stat.st_mtime_ns, stat.st_ino) != self._seen:
            self._seen = (stat.st_mtime_ns, stat.st_ino)
            self._servers = tuple(_parse(self._path.read_text(errors="replace"), self._own))[:3]
        return self._servers


def family(server: tuple[str, int]) -> int:
    """The address family of a server."""
    return socket.AF_INET6 if ":" in server[0] else socket.AF_INET


def _parse(text: str, own: Collection[str]) -> list[tuple[str, int]]:
    words = (line.split() for line in text.splitlines())
    found = (each[1] for each in words if len(each) > 1 and each[0] == "nameserver")
    return [(address, PORT) for address in found if address not in own]
