"""The shim's word to the logger: which FIFOs to read, whose end to watch, what to forget.

A logger that is away misses nothing: output waits in the FIFOs, which the shim holds open, and when it is
back it is told everything again.
"""

import _socket

from agent.runtime import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
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

    def attach(self, entry: "Packet", directory: str, pidfd: int) -> None:
        """Read its FIFOs; without a pidfd the container has ended and only what is left is read."""
        log = {
            "op": "attach",
            "container": entry["container"],
            "pid": entry["pid"],
            "start_time": entry["start_time"],
            "fifos": directory,
            **entry["log"],
        }
        self._tell(log, (pidfd,) if pidfd >= 0 else ())

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
