"""What waits to be sent to one node: of each section only the newest, so a slow node has no backlog."""

import asyncio
from collections.abc import AsyncIterator, Callable

from orch.v1 import sessions_pb2 as pb

MOST_ASKS_WAITING = 256
SECTION_ORDER = ("peers", "files", "tasks", "endpoints")
"""A task needs its node's range and its files."""

Message = bytes | Callable[[], bytes]


class Conversation:
    """What waits to be sent to one node; of each section only the newest."""

    def __init__(self, node: str, incarnation: int) -> None:
        self.node = node
        self.incarnation = incarnation
        self.problems: tuple[str, ...] = ()
        self.acknowledged: dict[str, int] = {}
        self.endpoints_sent = 0
        """The version of the endpoints that were sent last; 0 is none."""
        self._sections: dict[str, Message] = {}
        self._asks: list[bytes] = []
        self._stored = 0
        self._told = 0
        self._has_news = asyncio.Event()
        self._closed = False

    def push(self, section: str, message: "Message") -> None:
        """The newest state of a section; an older one that was not sent yet never is.

        One that depends on what was sent before is made when it is sent.
        """
        self._sections[section] = message
        self._has_news.set()

    def ask(self, message: bytes) -> bool:
        """A StreamAsk; False when too many wait."""
        if len(self._asks) >= MOST_ASKS_WAITING:
            return False
        self._asks.append(message)
        self._has_news.set()
        return True

    def stored(self, sequence: int) -> None:
        """Statuses up to here are in the store."""
        self._stored = max(self._stored, sequence)
        self._has_news.set()

    def close(self) -> None:
        """The stream ends."""
        self._closed = True
        self._has_news.set()

    async def messages(self, heartbeat_seconds: float) -> AsyncIterator[bytes]:
        """Serialised SessionDown messages until closed, with a heartbeat when there is nothing to say."""
        beats = 0
        while not self._closed:
            try:
                async with asyncio.timeout(heartbeat_seconds):  # wait_for may forget a cancellation
                    await self._has_news.wait()
            except TimeoutError:
                beats += 1
                yield pb.SessionDown(heartbeat=pb.Heartbeat(sequence=beats)).SerializeToString()
            self._has_news.clear()
            for message in self._take():
                yield message

    def _take(self) -> list[bytes]:
        ordered = sorted(self._sections, key=SECTION_ORDER.index)
        messages = (self._sections[section] for section in ordered)
        taken = [*(each if isinstance(each, bytes) else each() for each in messages), *self._asks]
        self._asks, self._sections = [], {}
        if self._stored > self._told:
            self._told = self._stored
            taken.append(pb.SessionDown(statuses_stored=self._told).SerializeToString())
        return taken
