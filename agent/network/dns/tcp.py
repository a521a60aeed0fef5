"""Answers over TCP, one thread a connection: few ask this way, mostly for what did not fit a datagram."""

import socket
import struct
import threading
from collections.abc import Callable

from agent.network.dns import message, upstream
from agent.network.dns.zone import Zone

CONNECTIONS = 32
IDLE_SECONDS = 5.0
QUESTIONS_A_CONNECTION = 64


class Door:
    """Accepts connections."""

    def __init__(
        self, listener: socket.socket, zone: Callable[[], Zone], resolvers: upstream.Resolvers
    ) -> None:
        """`zone` gives the present one."""
        self._listener = listener
        self._zone = zone
        self._resolvers = resolvers
        self._places = threading.BoundedSemaphore(CONNECTIONS)

    def accept(self) -> None:
        """To be called when somebody knocks; one too many is turned away."""
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if not self._places.acquire(blocking=False):
            connection.close()
            return
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(IDLE_SECONDS)
                for _ in range(QUESTIONS_A_CONNECTION):
                    data = _read(connection)
                    reply = self._reply(data)
                    if not reply:
                        return
                    connection.sendall(struct.pack("!H", len(reply)) + reply)
        except (OSError, EOFError):
            return
        finally:
            self._places.release()

    def _reply(self, data: bytes) -> bytes:
        try:
            query = message.Query(data)
        except message.MalformedError:
            return message.malformed(data)
        own = self._zone().reply(query)
        return own if own is not None else self._forward(data, query)

    def _forward(self, data: bytes, query: message.Query) -> bytes:
        for server in self._resolvers.servers():
            try:
                with socket.create_connection(server, upstream.TIMEOUT_SECONDS) as out:
                    out.sendall(struct.pack("!H", len(data)) + data)
                    reply = _read(out)
            except (OSError, EOFError):
                continue
            if message.answers_to(reply, query.id, query):
                return reply
        return message.failure(query, message.SERVFAIL)


def _read(connection: socket.socket) -> bytes:
    length = struct.unpack("!H", _read_exactly(connection, 2))[0]
    return _read_exactly(connection, length)


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
