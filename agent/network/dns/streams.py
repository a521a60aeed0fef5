"""Questions over TCP (RFC 7766): several on one connection, answered as the answers come."""

import socket
import struct
from collections.abc import Callable

from agent.network.dns.loop import READ, WRITE, Loop, Moment

CONNECTIONS = 256
CONNECTIONS_OF_ONE_CLIENT = 16
IDLE_SECONDS = 10.0
UNDER_WAY = 32
"""Questions of one connection that wait for an answer; more are not read before."""
UNSENT_BYTES = 256 * 1024

Answer = Callable[[bytes, str, Callable[[bytes], None]], None]


class Streams:
    """A listening socket, its connections, and who answers."""

    def __init__(self, loop: Loop, listener: socket.socket, answer: Answer) -> None:
        """`answer` gets a question, its client's address and where the answer goes."""
        self._loop = loop
        self._listener = listener
        self._answer = answer
        self._connections: dict[str, int] = {}

    def accept(self) -> None:
        """To be called when somebody knocks; one too many is turned away."""
        try:
            connection, asker = self._listener.accept()
        except OSError:
            return
        client = asker[0]
        count = self._connections.get(client, 0)
        if count >= CONNECTIONS_OF_ONE_CLIENT or sum(self._connections.values()) >= CONNECTIONS:
            connection.close()
            return
        self._connections[client] = count + 1
        connection.setblocking(False)
        _Connection(self._loop, connection, client, self._answer, self._forget).begin()

    def _forget(self, client: str) -> None:
        self._connections[client] -= 1
        if not self._connections[client]:
            del self._connections[client]


class _Connection:
    """Closed by the client, after IDLE_SECONDS without a question or an answer, or at nonsense."""

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        client: str,
        answer: Answer,
        closed: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._socket = connection
        self._client = client
        self._answer = answer
        self._closed = closed
        self._received = bytearray()
        self._unsent = bytearray()
        self._under_way = 0
        self._is_open = True
        self._has_heard_all = False
        self._idle: Moment | None = None

    def begin(self) -> None:
        self._note_life()
        self._watch()

    def _watch(self) -> None:
        """For what can be done now: who does not take answers is not asked for more questions."""
        is_busy = self._under_way >= UNDER_WAY or len(self._unsent) >= UNSENT_BYTES
        events = (0 if is_busy or self._has_heard_all else READ) | (WRITE if self._unsent else 0)
        if events:
            self._loop.watch(self._socket, self._act, events)
        else:
            self._loop.leave(self._socket)

    def _act(self) -> None:
        try:
            if self._unsent:
                self._send()
            if not self._has_heard_all:
                self._receive()
        except BlockingIOError:
            pass
        except OSError:
            self._close()
        self._go_on()

    def _send(self) -> None:
        sent = self._socket.send(self._unsent)
        del self._unsent[:sent]
        if sent:
            self._note_life()

    def _receive(self) -> None:
        piece = self._socket.recv(65536)
        self._received += piece
        self._has_heard_all = not piece

    def _go_on(self) -> None:
        """Asks what was received whole, and closes when there is nothing more to say."""
        while self._is_open and self._under_way < UNDER_WAY and len(self._received) >= 2:
            end = 2 + int.from_bytes(self._received[:2], "big")
            if len(self._received) < end:
                break
            question = bytes(self._received[2:end])
            del self._received[:end]
            self._under_way += 1
            self._note_life()
            self._answer(question, self._client, self._say)
        if not self._is_open:
            return
        if self._has_heard_all and not self._under_way and not self._unsent:
            self._close()
        else:
            self._watch()

    def _say(self, reply: bytes) -> None:
        self._under_way -= 1
        if not self._is_open:
            return
        if not reply:
            self._close()
            return
        self._unsent += struct.pack("!H", len(reply)) + reply
        self._note_life()
        self._watch()

    def _note_life(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.after(IDLE_SECONDS, self._close)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            if self._idle is not None:
                self._idle.cancel()
            self._loop.leave(self._socket)
            self._socket.close()
            self._closed(self._client)
