"""The one loop of orch-dns: questions over UDP and TCP, and the agent's words on a unix socket.

The agent says `hello`, `reload` or `end`, one a connection; the answer is one line.
"""

import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.network.dns import message, upstream, zone
from agent.network.dns.forward import Forwarder
from agent.network.dns.tcp import Door

PORT = 53
_QUESTION_BYTES = 4096
_WORD_BYTES = 64
_WORD_SECONDS = 1.0


class Server:
    """`folder` holds the records and the unix socket; `addresses` are the node's own on the bridge."""

    def __init__(self, folder: Path, addresses: Sequence[str], resolv_conf: Path) -> None:
        """Listens from here on. Raises OSError where an address or the port is not to be had."""
        self._folder = folder
        self._identity = " ".join(("ok", str(os.getpid()), str(resolv_conf), *addresses))
        self._selector = selectors.DefaultSelector()
        self._resolvers = upstream.Resolvers(resolv_conf, addresses)
        self._forwarder = Forwarder(self._selector, self._resolvers)
        self._zone = zone.read(folder / "records.json")
        self._ended = False
        for address in addresses:
            self._listen(address)
        self._control = _listen_unix(folder / "control.sock")
        self._on(self._control, self._hear)

    def run(self) -> None:
        """Until the agent says `end`."""
        while not self._ended:
            deadline = self._forwarder.next_deadline()
            patience = None if deadline is None else max(0.0, deadline - time.monotonic())
            for key, _ in self._selector.select(patience):
                key.data()
            self._forwarder.expire()

    def _listen(self, address: str) -> None:
        family = upstream.family((address, PORT))
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        datagrams.bind((address, PORT))
        datagrams.setblocking(False)
        self._on(datagrams, lambda: self._answer(datagrams))
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, PORT))
        listener.listen(64)
        listener.setblocking(False)
        self._on(listener, Door(listener, lambda: self._zone, self._resolvers).accept)

    def _answer(self, datagrams: socket.socket) -> None:
        try:
            data, asker = datagrams.recvfrom(_QUESTION_BYTES)
        except OSError:
            return
        try:
            query = message.Query(data)
        except message.MalformedError:
            _send(datagrams, message.malformed(data), asker)
            return
        reply = self._zone.reply(query)
        if reply is not None:
            _send(datagrams, message.fitting(query, reply), asker)
        else:
            self._forwarder.ask(data, query, lambda answer: _send(datagrams, answer, asker))

    def _hear(self) -> None:
        try:
            connection, _ = self._control.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(_WORD_SECONDS)
            try:
                word = connection.recv(_WORD_BYTES).decode().strip()
                connection.sendall(self._obey(word).encode() + b"\n")
            except (OSError, ValueError):
                return

    def _obey(self, word: str) -> str:
        match word:
            case "hello":
                return self._identity
            case "reload":
                self._zone = zone.read(self._folder / "records.json")
                return f"ok {len(self._zone)}"
            case "end":
                self._ended = True
                return "ok"
            case _:
                return "unknown word: say hello, reload or end"

    def _on(self, source: socket.socket, callback: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, callback)


def _send(datagrams: socket.socket, reply: bytes, asker: tuple[str, int]) -> None:
    if reply:
        try:
            datagrams.sendto(reply, asker)
        except OSError:
            return


def _listen_unix(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(8)
    listener.setblocking(False)
    return listener
