"""The line between a node and a control plane: messages take a moment, and a cut line keeps them back.

As with TCP: what was sent while the line was cut arrives when it is mended, unless one side has given up.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

SHORTEST_SECONDS = 0.001
FURTHER_SECONDS = 0.0002
"""No two nodes are equally far away, so that who comes first is no lottery."""
GIVE_UP_SECONDS = 13.0
"""A server notices by its pings that a client is silent: keepalive time and timeout of `api/server.py`."""


class Broken(Exception):
    """The conversation is over, and why."""


class Pipe:
    """One direction of one call."""

    def __init__(self, line: "Line") -> None:
        self._line = line
        self._waiting: deque[tuple[float, Any]] = deque()
        self._news = asyncio.Event()

    def send(self, message: Any) -> None:
        self._waiting.append((asyncio.get_running_loop().time() + self._line.delay, message))
        self._news.set()

    def close(self, why: str) -> None:
        """The other end learns of it after all that was sent before."""
        self.send(Broken(why))

    async def receive(self) -> Any:
        """The next message. Raises Broken."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        due, message = self._waiting.popleft()
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        await self._line.whole.wait()
        if isinstance(message, Broken):
            self._waiting.appendleft((0.0, message))
            raise message
        return message

    async def messages(self) -> AsyncIterator[Any]:
        """Until it is closed."""
        while True:
            try:
                yield await self.receive()
            except Broken:
                return


Handler = Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]]


class Call:
    """A stream in both directions, as gRPC has it: the handler is cancelled when the client is gone."""

    def __init__(self, line: "Line", whom: str, handler: Handler, context: Any) -> None:
        self.whom = whom
        """The control plane at the other end."""
        self.up, self.down = Pipe(line), Pipe(line)
        self.server = asyncio.create_task(self._serve(handler, context))
        line.calls.add(self)
        self.server.add_done_callback(lambda _: line.calls.discard(self))

    async def _serve(self, handler: Handler, context: Any) -> None:
        why = "the server ended it"
        try:
            async for message in handler(self.up.messages(), context):
                self.down.send(message)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        finally:
            self.down.close(why)


class Line:
    """Of one node; to all control planes."""

    def __init__(self, number: int) -> None:
        self.delay = SHORTEST_SECONDS + number * FURTHER_SECONDS
        self.whole = asyncio.Event()
        self.whole.set()
        self.calls: set[Call] = set()
        self._giving_up: asyncio.TimerHandle | None = None

    def cut(self) -> None:
        """No message arrives, either way."""
        self.whole.clear()
        if self._giving_up is None:
            self._giving_up = asyncio.get_running_loop().call_later(GIVE_UP_SECONDS, self.drop_calls)

    def mend(self) -> None:
        """Messages go through again."""
        self.whole.set()
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def drop_calls(self) -> None:
        """The servers learn that their clients are gone."""
        for call in tuple(self.calls):
            call.server.cancel()
