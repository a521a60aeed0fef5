"""Questions over UDP. Under a flood every client gets the same share of the answers, whoever floods."""

import socket
from collections.abc import Callable

BATCH = 4096
"""Packets that are taken before any is answered: taking one costs a tenth of answering it."""
ANSWERS = 512
"""As many are answered before packets are taken again, in turn to each client; the rest is dropped."""
ANSWERS_UNDER_FLOOD = 128
"""When more than a batch lies there: what is not taken soon is dropped by the kernel, whoever sent it."""
_QUESTION_BYTES = 4096
_BUFFER_BYTES = 4 << 20
_SO_RCVBUFFORCE = 33

Asker = tuple[str, int]


class Datagrams:
    """A bound socket, and who answers."""

    def __init__(
        self, bound: socket.socket, answer: Callable[[bytes, str, Callable[[bytes], None]], None]
    ) -> None:
        """`answer` gets a question, its client's address and where the answer goes."""
        self._socket = bound
        self._answer = answer
        try:
            bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except OSError:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)

    def read(self) -> None:
        """To be called when something lies there."""
        waiting: dict[str, list[tuple[bytes, Asker]]] = {}
        count = self._take(waiting)
        left = ANSWERS_UNDER_FLOOD if count == BATCH else ANSWERS
        while waiting and left > 0:
            for client in list(waiting):
                data, asker = waiting[client].pop()
                if not waiting[client]:
                    del waiting[client]
                self._answer(data, client, self._to(asker))
                left -= 1
                if not left:
                    break

    def _take(self, waiting: dict[str, list[tuple[bytes, Asker]]]) -> int:
        """Questions of each client; how many packets there were."""
        receive = self._socket.recvfrom
        for count in range(BATCH):
            try:
                data, asker = receive(_QUESTION_BYTES)
            except OSError:
                return count
            known = waiting.get(asker[0])
            if known is None:
                waiting[asker[0]] = [(data, asker)]
            elif len(known) < ANSWERS:
                known.append((data, asker))
        return BATCH

    def _to(self, asker: Asker) -> Callable[[bytes], None]:
        return lambda reply: self._send(reply, asker)

    def _send(self, reply: bytes, asker: Asker) -> None:
        if reply:
            try:
                self._socket.sendto(reply, asker)
            except OSError:
                return
