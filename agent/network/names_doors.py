"""The sockets on which orch-dns listens. The agent holds them too: while orch-dns starts again, questions wait in them.

A later agent gets them from the orch-dns that runs.
"""

import errno
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from agent.network.attachment import NetworkError

PORT = 53
_BACKLOG = 256
_PATIENCE_SECONDS = 5


class Doors:
    """A socket for datagrams and one for streams on each address, in that order."""

    def __init__(self, sockets: Sequence[socket.socket] = ()) -> None:
        """`open` binds new ones, `of` takes over those of an orch-dns."""
        self._sockets = list(sockets)

    def __bool__(self) -> bool:
        return bool(self._sockets)

    @property
    def descriptors(self) -> list[int]:
        """To be passed to orch-dns."""
        return [each.fileno() for each in self._sockets]

    def close(self) -> None:
        """Idempotent; orch-dns keeps its own."""
        while self._sockets:
            self._sockets.pop().close()


def opened(addresses: Sequence[str]) -> Doors:
    """New sockets. Raises NetworkError naming what is in the way."""
    doors: list[socket.socket] = []
    try:
        for address in addresses:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                door = socket.socket(family, kind | socket.SOCK_NONBLOCK)
                doors.append(door)
                if kind == socket.SOCK_STREAM:
                    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                door.bind((address, PORT))
                if kind == socket.SOCK_STREAM:
                    door.listen(_BACKLOG)
    except OSError as error:
        for each in doors:
            each.close()
        raise NetworkError(
            f"orch-dns cannot listen on port {PORT} of {address}: {os.strerror(error.errno or 0)}{_advice(error)}"
        ) from error
    return Doors(doors)


def of(folder: Path) -> Doors:
    """Those of the orch-dns that runs; none where it does not give them. Waits: call it on a thread."""
    found: list[socket.socket] = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_PATIENCE_SECONDS)
            line.connect(os.fspath(folder / "control.sock"))
            line.sendall(b"doors\n")
            _, descriptors, _, _ = socket.recv_fds(line, 64, 64, socket.MSG_CMSG_CLOEXEC)
            found = [socket.socket(fileno=each) for each in descriptors]
    except OSError:
        return Doors(found)
    return Doors(found)


def _advice(error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return ""
    return "; a name server of this node listens on every address: bind it to the addresses that it serves"
