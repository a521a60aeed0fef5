"""Streams between a user and a node: asked for over the node's session, answered by a call the node makes.

Both directions are bounded: whoever reads slowly makes the other side wait, and nothing piles up here.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from controlplane.api import door, errors
from orch.v1 import control_pb2, sessions_pb2

DIAL_BACK_SECONDS = 5.0
MESSAGES_BUFFERED = 16
MOST_OPEN = 1000

Send = Callable[[str, Any], bool]
"""Hands a SessionDown to a node's session; False when there is none."""


class Stream:
    """One stream asked of a node."""

    def __init__(self, identity: str, node: str) -> None:
        self.id = identity
        self.node = node
        self.answered = asyncio.Event()
        self._up: asyncio.Queue[Any] = asyncio.Queue(MESSAGES_BUFFERED)
        self._down: asyncio.Queue[Any] = asyncio.Queue(MESSAGES_BUFFERED)
        self._closed = asyncio.Event()

    async def send(
        self,
        message: control_pb2.ExecInput
        | control_pb2.BuildInput
        | control_pb2.ForwardInput
        | control_pb2.NetPlan,
    ) -> None:
        """To the node; waits while it does not read."""
        match message:
            case control_pb2.BuildInput():
                down = sessions_pb2.AnswerDown(build=message)
            case control_pb2.ForwardInput():
                down = sessions_pb2.AnswerDown(forward=message)
            case control_pb2.NetPlan():
                down = sessions_pb2.AnswerDown(net_check=message)
            case _:
                down = sessions_pb2.AnswerDown(exec=message)
        await self._put(self._down, down)

    async def answers(self) -> AsyncIterator[Any]:
        """AnswerUp messages until the node has no more."""
        while (message := await self._up.get()) is not None:
            yield message

    def close(self) -> None:
        """The user is gone, or has all there is: the node's call ends."""
        self._closed.set()

    async def take(self, message: Any) -> None:
        """From the node; None is the end. Waits while the user does not read."""
        await self._put(self._up, message)

    async def inputs(self) -> AsyncIterator[Any]:
        """AnswerDown messages until closed."""
        while not self._closed.is_set():
            waits = self._down.empty()
            message = await self._or_closed(self._down.get()) if waits else self._down.get_nowait()
            if message is not None:
                yield message

    async def _put(self, queue: asyncio.Queue[Any], message: Any) -> None:
        """Nothing is made ready for waiting where nobody has to wait: streams of bytes live of it."""
        if queue.full():
            await self._or_closed(queue.put(message))
        else:
            queue.put_nowait(message)

    async def _or_closed(self, waiting: Any) -> Any:
        """The result, or None when the stream is closed first."""
        work, closed = asyncio.ensure_future(waiting), asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({work, closed}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            work.cancel()
            closed.cancel()


class Relay:
    """All open streams."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._streams: dict[str, Stream] = {}

    @asynccontextmanager
    async def ask(self, node: str, ask: sessions_pb2.StreamAsk) -> AsyncIterator[Stream]:
        """A stream that the node has taken up. Raises Unreachable."""
        if len(self._streams) >= MOST_OPEN:
            raise errors.NotPossible(f"{MOST_OPEN} streams are open already: end some, then try again")
        stream = Stream(secrets.token_hex(16), node)
        ask.id = stream.id
        self._streams[stream.id] = stream
        try:
            if not self._send(node, sessions_pb2.SessionDown(ask=ask)):
                raise errors.Unreachable(f"{node} is not connected to the control plane")
            try:
                async with asyncio.timeout(DIAL_BACK_SECONDS):
                    await stream.answered.wait()
            except TimeoutError:
                raise errors.Unreachable(f"{node} did not answer within {DIAL_BACK_SECONDS:g} s") from None
            yield stream
        finally:
            stream.close()
            del self._streams[stream.id]
            self._send(node, sessions_pb2.SessionDown(hung_up=stream.id))

    async def answer(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        """The node's side: the handler of `Sessions.Answer`."""
        messages = aiter(requests)
        first = await anext(messages, None)
        stream = self._streams.get(first.id) if first is not None else None
        if stream is None or stream.node != door.caller(context).name or stream.answered.is_set():
            raise errors.NotFound("nobody waits for this answer (any more)")
        stream.answered.set()
        reading = asyncio.create_task(_read(first, messages, stream))
        reading.add_done_callback(lambda _: stream.close() if reading.cancelled() else None)
        try:
            async for message in stream.inputs():
                yield message
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading


async def _read(first: Any, messages: Any, stream: Stream) -> None:
    try:
        if first.WhichOneof("kind"):
            await stream.take(first)
        async for message in messages:
            await stream.take(message)
    finally:
        await stream.take(None)
