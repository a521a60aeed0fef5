"""Passes questions over UDP to the node's resolvers and their answers back, many at a time.

Every question goes out under a random id from a socket of its own, so that a forged answer must guess both.
"""

import os
import selectors
import socket
import time
from collections.abc import Callable

from agent.network.dns import message, upstream

IN_FLIGHT_QUESTIONS = 512
_ANSWER_BYTES = 4096


class _Question:
    """One that waits for an answer."""

    __slots__ = ("data", "deadline", "number", "query", "reply_to", "servers", "socket")

    def __init__(self, data: bytes, query: message.Query, reply_to: Callable[[bytes], None]) -> None:
        self.data = data
        self.query = query
        self.reply_to = reply_to
        self.deadline = 0.0
        self.number = 0
        self.servers: list[tuple[str, int]] = []
        self.socket: socket.socket | None = None


class Forwarder:
    """Works within the server's own loop: `expire` is to be called no later than `next_deadline`."""

    def __init__(self, selector: selectors.BaseSelector, resolvers: upstream.Resolvers) -> None:
        """Asks nobody yet."""
        self._selector = selector
        self._resolvers = resolvers
        self._waiting: dict[int, _Question] = {}

    def ask(self, data: bytes, query: message.Query, reply_to: Callable[[bytes], None]) -> None:
        """`reply_to` gets an answer in any case, SERVFAIL where nobody answered."""
        question = _Question(data, query, reply_to)
        if len(self._waiting) < IN_FLIGHT_QUESTIONS:
            question.servers = list(self._resolvers.servers())
        self._ask_next(question)

    def next_deadline(self) -> float | None:
        """On the monotonic clock; None where nothing waits."""
        return next((question.deadline for question in self._waiting.values()), None)

    def expire(self) -> None:
        """Questions that waited long enough go to the next server."""
        now = time.monotonic()
        for question in [each for each in self._waiting.values() if each.deadline <= now]:
            self._ask_next(question)

    def _ask_next(self, question: _Question) -> None:
        self._let_go(question)
        while question.servers:
            server = question.servers.pop(0)
            try:
                self._send(question, server)
            except OSError:
                self._let_go(question)
                continue
            return
        question.reply_to(message.failure(question.query, message.SERVFAIL))

    def _send(self, question: _Question, server: tuple[str, int]) -> None:
        question.socket = out = socket.socket(
            upstream.family(server), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        )
        out.connect(server)
        question.number = int.from_bytes(os.urandom(2), "big")
        out.send(message.with_id(question.data, question.number))
        question.deadline = time.monotonic() + upstream.TIMEOUT_SECONDS
        self._waiting[out.fileno()] = question
        self._selector.register(out, selectors.EVENT_READ, lambda: self._receive(question))

    def _receive(self, question: _Question) -> None:
        if question.socket is None:
            return
        try:
            reply = question.socket.recv(_ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._ask_next(question)
            return
        if message.answers_to(reply, question.number, question.query):
            self._let_go(question)
            question.reply_to(message.with_id(reply, question.query.id))

    def _let_go(self, question: _Question) -> None:
        if question.socket is None:
            return
        if self._waiting.pop(question.socket.fileno(), None) is not None:
            self._selector.unregister(question.socket)
        question.socket.close()
        question.socket = None
