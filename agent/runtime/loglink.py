"""The shim's word to the logger: which FIFOs to read, whose end to watch, what to forget.

A logger that is away misses nothing: output waits in the FIFOs, which the shim holds open, and when it is
back it is told everything again.
"""

import _socket

from agent.runtime import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Packet = dict[str, Any]

_ANSWERS_WITHIN_SECONDS = 2.0


class LogLink:
    def __init__(self, path: str) -> None:
        self.path = path
        self.sock: _socket.socket | None = None

    def connect(self) -> "Packet":
        """The ends that it has seen: {container: [wait status, unix time]}; nothing when it is away."""
        self.close()
        try:
            sock = packets.connect(self.path)
        except OSError:
            return {}
        try:
            sock.settimeout(_ANSWERS_WITHIN_SECONDS)
            packets.send(sock, {"op": "exits"})
            heard = packets.receive(sock)
        except OSError:
            heard = None
        if heard is None:
            sock.close()
            return {}
        sock.settimeout(_ANSWERS_WITHIN_SECONDS)
        self.sock = sock
        exits: Packet = heard[0]["exits"]
        return exits

    def attach(
        self, entry: "Packet", directory: str, pidfd: int, terminal: int = -1, fifos: "Sequence[int]" = ()
    ) -> None:
        """Read its FIFOs or terminal; without a pidfd the container has ended and only what is left is read.

        The FIFOs go along: before a busy logger comes to it, a short container may have been removed.
        """
        log = {
            "op": "attach",
            "container": entry["container"],
            "pid": entry["pid"],
            "start_time": entry["start_time"],
            "fifos": directory,
            "has_pidfd": pidfd >= 0,
            "is_terminal": entry["terminal"],
            **entry["log"],
        }
        self._tell(log, tuple(fd for fd in (pidfd, terminal, *fifos) if fd >= 0))

    def terminal(self, container: str) -> int:
        """The master of its terminal, which a shim before us gave away for safe keeping; -1 when it is lost."""
        self._tell({"op": "terminal", "container": container})
        if not self.sock:
            return -1
        try:
            heard = packets.receive(self.sock)
        except OSError:
            heard = None
        if heard is None:
            self.close()
            return -1
        _, fds = heard
        return fds[0] if fds else -1

    def forget(self, container: str) -> None:
        self._tell({"op": "forget", "container": container})

    def close(self) -> None:
        if self.sock:
            self.sock.close()
            self.sock = None

    def _tell(self, packet: "Packet", fds: tuple[int, ...] = ()) -> None:
        if not self.sock:
            return
        try:
            packets.send(self.sock, packet, fds)
        except OSError:
            self.close()
