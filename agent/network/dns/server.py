"""orch-dns itself: doors for questions, the cluster's names, the way out for others, and an ear for the agent."""

import os
import socket
from collections.abc import Callable, Sequence

from agent.network.dns import answer, entry, message, upstream
from agent.network.dns.control import Control
from agent.network.dns.datagrams import Datagrams
from agent.network.dns.forward import Forwarder
from agent.network.dns.loop import Loop
from agent.network.dns.memory import Memory
from agent.network.dns.message import Query
from agent.network.dns.ranges import Range
from agent.network.dns.streams import Streams
from agent.network.dns.table import Table
from agent.network.dns.zone import Zone


class Server:
    """`folder` holds the services and the unix socket."""

    def __init__(
        self,
        folder: str,
        resolv_conf: str,
        code: str,
        ranges: str,
        subnets: Sequence[str],
        doors: Sequence[socket.socket],
    ) -> None:
        """Answers what comes to the doors, which are bound. `subnets` are the tasks' own with our address in each."""
        self._identity = " ".join(("ok", str(os.getpid()), resolv_conf, code, ranges, *subnets))
        self._addresses = [each.partition("/")[0] for each in subnets]
        self._own = [Range(each) for each in subnets]
        self._cluster = [Range(each) for each in ranges.split(",") if "/" in each]
        self._loop = Loop()
        self._forwarder = Forwarder(self._loop, upstream.Resolvers(resolv_conf, self._addresses))
        self._memory = Memory(f"{folder}/services", Table())
        while not self._memory.step():
            pass
        self._zone = Zone(self._memory.table, self._is_clusters)
        for each in doors:
            self._listen(each)
        descriptors = [each.fileno() for each in doors]
        self._control = Control(self._loop, f"{folder}/control.sock", self._obey, descriptors)

    def run(self) -> None:
        """Until the agent says `end`."""
        self._loop.run()

    def _listen(self, door: socket.socket) -> None:
        door.setblocking(False)
        if door.type == socket.SOCK_DGRAM:
            self._loop.watch(door, Datagrams(door, self._answer_datagram).read)
        else:
            self._loop.watch(door, Streams(self._loop, door, self._answer_stream).accept)

    def _answer_datagram(self, data: bytes, client: str, say: Callable[[bytes], None]) -> None:
        self._answer(data, client, say, streamed=False)

    def _answer_stream(self, data: bytes, client: str, say: Callable[[bytes], None]) -> None:
        self._answer(data, client, say, streamed=True)

    def _answer(self, data: bytes, client: str, say: Callable[[bytes], None], *, streamed: bool) -> None:
        try:
            query = Query(data)
        except message.MalformedError:
            say(message.malformed(data))
            return
        own = self._zone.reply(query, client)
        if own is None and not self._is_task(client):
            own = answer.Answer(message.REFUSED)
        if own is not None:
            say(answer.write(query, own, message.TCP_BYTES if streamed else query.udp_limit))
        else:
            self._forwarder.ask(client, query, say, streamed=streamed)

    def _is_task(self, client: str) -> bool:
        """Others are not led outside: no stranger, and not the host, whose resolver may ask us what we ask it."""
        if client in self._addresses:
            return False
        packed = entry.packed(client.partition("%")[0])
        return any(each.holds(packed) for each in self._own)

    def _is_clusters(self, address: bytes) -> bool:
        return any(each.holds(address) for each in self._cluster)

    def _obey(self, word: str, say: Callable[[str], None]) -> None:
        match word:
            case "hello":
                say(self._identity)
            case "reload":
                self._memory.begin_anew()
                self._read(say)
            case "more":
                self._read(say)
            case "end":
                self._loop.ended = True
                say("ok")
            case _:
                say("unknown word: say hello, reload, more or end")

    def _read(self, say: Callable[[str], None]) -> None:
        """In steps, between which names are answered."""

        def step() -> bool:
            if not self._memory.step():
                return False
            say(f"ok {len(self._memory.table)}")
            return True

        self._loop.in_between(step)
