"""Passes questions to the node's resolvers and their answers back, many at a time.

Every question goes out under a random id from a socket of its own, so that a forged answer must guess both. The same
question of several askers goes out once: should it ever come back to us on some way round, it is not sent again.
"""

import os
from collections.abc import Callable

from agent.network.dns import answer, message, upstream
from agent.network.dns.exchange import Exchange
from agent.network.dns.loop import Loop, Moment
from agent.network.dns.message import Query

IN_FLIGHT = 1024
IN_FLIGHT_OF_ONE_CLIENT = 128
NEXT_SERVER_AFTER_SECONDS = 1.0
ROUNDS = 2
GIVE_UP_AFTER_SECONDS = 4.5
"""Before the five seconds of libc's own patience are over."""
_NOT_ASKED_AGAIN = (message.SERVFAIL, message.REFUSED, message.NOTIMP)

Reply = Callable[[bytes], None]


class _Question:
    """One that waits for an answer, and everybody who waits for it."""

    __slots__ = ("askers", "best", "exchanges", "giving_up", "key", "moving_on", "query", "servers", "tried")

    def __init__(self, key: bytes, query: Query, servers: list[upstream.Server]) -> None:
        self.key = key
        self.query = query
        self.servers = servers
        self.askers: list[tuple[str, Query, Reply]] = []
        self.tried: set[upstream.Server] = set()
        self.exchanges: list[Exchange] = []
        self.best = b""
        self.moving_on: Moment | None = None
        self.giving_up: Moment | None = None


class Forwarder:
    """Works within the loop of the server."""

    def __init__(self, loop: Loop, resolvers: upstream.Resolvers) -> None:
        """Asks nobody yet."""
        self._loop = loop
        self._resolvers = resolvers
        self._questions: dict[bytes, _Question] = {}
        self._waiting: dict[str, int] = {}
        self._count = 0

    def ask(self, client: str, query: Query, reply: Reply, *, streamed: bool = False) -> None:
        """`reply` gets an answer in any case, SERVFAIL where nobody answered. `streamed`: over TCP."""
        if self._count >= IN_FLIGHT or self._waiting.get(client, 0) >= IN_FLIGHT_OF_ONE_CLIENT:
            reply(_failure(query))
            return
        key = _key(query, streamed)
        question = self._questions.get(key)
        is_new = question is None
        if question is None:
            servers = self._resolvers.servers() * ROUNDS
            question = self._questions[key] = _Question(key, query, servers)
        question.askers.append((client, query, reply))
        self._waiting[client] = self._waiting.get(client, 0) + 1
        self._count += 1
        if is_new:
            question.giving_up = self._loop.after(GIVE_UP_AFTER_SECONDS, lambda: self._end(question, b""))
            self._ask_next(question)

    def _ask_next(self, question: _Question) -> None:
        """The next server; the earlier ones may still answer."""
        if question.moving_on is not None:
            question.moving_on.cancel()
            question.moving_on = None
        while question.servers:
            server = question.servers.pop(0)
            try:
                self._send(question, server)
            except OSError:
                self._resolvers.was_silent(server)
                continue
            if question.servers:
                question.moving_on = self._loop.after(
                    NEXT_SERVER_AFTER_SECONDS, lambda: self._move_on(question)
                )
            return
        if not question.exchanges:
            self._end(question, question.best)

    def _move_on(self, question: _Question) -> None:
        question.moving_on = None
        self._resolvers.was_silent(question.exchanges[-1].server)
        self._ask_next(question)

    def _send(self, question: _Question, server: upstream.Server) -> None:
        number = int.from_bytes(os.urandom(2), "big")
        data = message.with_id(question.query.data, number)
        question.tried.add(server)
        question.exchanges.append(
            Exchange(
                self._loop,
                server,
                data,
                streamed=question.key[:1] == b"t",
                heard=lambda exchange, reply: self._hear(question, exchange, number, reply),
            )
        )

    def _hear(self, question: _Question, exchange: Exchange, number: int, reply: bytes) -> None:
        """An empty reply says that the server is not there."""
        if reply and not message.answers_to(reply, number, question.query):
            if not exchange.is_streamed:
                return
            reply = b""
        if reply and message.code_of(reply) not in _NOT_ASKED_AGAIN:
            self._resolvers.has_answered(exchange.server)
            self._end(question, reply)
            return
        question.best = reply or question.best
        if question.moving_on is not None:
            question.moving_on.cancel()
            question.moving_on = None
        exchange.close()
        question.exchanges.remove(exchange)
        if not reply:
            self._resolvers.was_silent(exchange.server)
        if reply:
            question.servers = [each for each in question.servers if each != exchange.server]
        if question.servers and not question.exchanges and question.servers[0] in question.tried:
            question.moving_on = self._loop.after(NEXT_SERVER_AFTER_SECONDS, lambda: self._ask_next(question))
        else:
            self._ask_next(question)

    def _end(self, question: _Question, reply: bytes) -> None:
        for moment in (question.moving_on, question.giving_up):
            if moment is not None:
                moment.cancel()
        for exchange in question.exchanges:
            exchange.close()
        question.exchanges.clear()
        self._questions.pop(question.key, None)
        for client, query, say in question.askers:
            self._count -= 1
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]
            say(message.for_asker(reply, query) if reply else _failure(query))


def _key(query: Query, streamed: bool) -> bytes:
    """The same for questions that have the same answer: all but their ids and their capitals."""
    end = message.HEADER.size + len(query.question)
    return (b"t" if streamed else b"u") + query.data[2:12] + query.question.lower() + query.data[end:]


def _failure(query: Query) -> bytes:
    return answer.write(query, answer.Answer(message.SERVFAIL), query.udp_limit)
