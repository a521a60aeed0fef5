"""One question to one server, over UDP or TCP, and what comes back."""

import contextlib
import socket
import struct
from collections.abc import Callable

from agent.network.dns import loop as loops
from agent.network.dns import upstream

_ANSWER_BYTES = 65535


class Exchange:
    """Under way from the beginning until `close`."""

    __slots__ = ("_heard", "_loop", "_received", "_socket", "_unsent", "is_streamed", "server")

    def __init__(
        self,
        loop: loops.Loop,
        server: upstream.Server,
        data: bytes,
        *,
        streamed: bool,
        heard: Callable[["Exchange", bytes], None],
    ) -> None:
        """`heard` is told each message, and b"" when none can come. Raises OSError where nothing can be sent."""
        self.server = server
        self._loop = loop
        self._heard = heard
        self.is_streamed = streamed
        self._received = bytearray()
        self._unsent = struct.pack("!H", len(data)) + data if streamed else b""
        kind = socket.SOCK_STREAM if streamed else socket.SOCK_DGRAM
        self._socket = socket.socket(upstream.family(server[0]), kind | socket.SOCK_NONBLOCK)
        try:
            if streamed:
                self._connect()
            else:
                self._socket.connect(server)
                self._socket.send(data)
                loop.watch(self._socket, self._receive_datagram)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Idempotent."""
        self._loop.leave(self._socket)
        self._socket.close()

    def _connect(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._socket.connect(self.server)
        self._loop.watch(self._socket, self._send, loops.WRITE)

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._heard(self, b"")
            return
        if not self._unsent:
            self._loop.watch(self._socket, self._receive_stream)

    def _receive_datagram(self) -> None:
        try:
            data = self._socket.recv(_ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._heard(self, data)

    def _receive_stream(self) -> None:
        try:
            piece = self._socket.recv(_ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._heard(self, b"")
            return
        self._received += piece
        if len(self._received) >= 2:
            end = 2 + int.from_bytes(self._received[:2], "big")
            if len(self._received) >= end:
                self._heard(self, bytes(self._received[2:end]) or b"\0")
