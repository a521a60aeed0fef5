"""The agent's words on a unix socket, one a connection; the answer is one line.

hello     who serves here, and on what
reload    read all services again; the old ones are answered until the new ones are all there
more      read what was appended to the file
doors     the sockets on which it listens, for an agent that came later
end       leave
"""

import os
import socket
from collections.abc import Callable, Sequence

from agent.network.dns.loop import Loop

_WORD_BYTES = 64
_PATIENCE_SECONDS = 5.0
_Say = Callable[[str], None]


class Control:
    """Listens for words and has them obeyed."""

    def __init__(
        self, loop: Loop, path: str, obey: Callable[[str, _Say], None], doors: Sequence[int] = ()
    ) -> None:
        """`obey` gets any other word, and where its answer goes, now or later."""
        self._doors = doors
        self._loop = loop
        self._obey = obey
        _remove(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        os.chmod(path, 0o600)  # noqa: PTH101  pathlib is a megabyte
        self._listener.listen(8)
        self._listener.setblocking(False)
        loop.watch(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        self._loop.after(_PATIENCE_SECONDS, lambda: self._close_silent(connection))
        self._loop.watch(connection, lambda: self._hear(connection))

    def _hear(self, connection: socket.socket) -> None:
        self._loop.leave(connection)
        try:
            word = connection.recv(_WORD_BYTES).decode("ascii").strip()
        except (OSError, ValueError):
            connection.close()
            return
        if word == "doors":
            with connection:
                socket.send_fds(connection, [b"ok\n"], self._doors)
            return
        self._obey(word, lambda said: _answer(connection, said))

    def _close_silent(self, connection: socket.socket) -> None:
        """Who said nothing; who waits for an answer gets it."""
        if connection.fileno() >= 0 and self._loop.is_watching(connection):
            self._loop.leave(connection)
            connection.close()


def _remove(path: str) -> None:
    """Remove the socket of an earlier process."""
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return


def _answer(connection: socket.socket, said: str) -> None:
    with connection:
        try:
            connection.sendall(said.encode() + b"\n")
        except OSError:
            return
