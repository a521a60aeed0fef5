"""The far end of a stream that a user asked for."""

import asyncio
import contextlib
from typing import Any

import grpc.aio

from orch.v1 import sessions_pb2

MOST_INPUTS_WAITING = 16
FAREWELL_SECONDS = 10.0


class User:
    """Says one thing at a time and hears what comes.

    The stream is only ever read by one task that is never cancelled before the end: a cancelled read would
    end the whole call, and with it what was not sent yet.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._inputs: asyncio.Queue[Any] = asyncio.Queue(MOST_INPUTS_WAITING)
        self._gone = asyncio.Event()
        self._turn = asyncio.Lock()
        self._listening = asyncio.create_task(self._listen())

    async def say(self, **kind: Any) -> None:
        """Waits while the user does not read."""
        async with self._turn:
            await self._call.write(sessions_pb2.AnswerUp(**kind))

    async def hear(self) -> Any:
        """The next ExecInput or BuildInput; None when the user has gone."""
        if not self._inputs.empty():
            return self._inputs.get_nowait()
        coming, gone = asyncio.ensure_future(self._inputs.get()), asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        finally:
            coming.cancel()
            gone.cancel()

    def left(self) -> None:
        """Told on another way: what we have not read yet would hide it."""
        self._gone.set()

    async def wait_gone(self) -> None:
        """Until the user has hung up."""
        await self._gone.wait()

    async def bid_farewell(self) -> None:
        """No more from us; returns when the other side has it all."""
        await self._call.done_writing()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._gone.wait()

    def hang_up(self) -> None:
        """The stream ends here."""
        self._call.cancel()
        self._listening.cancel()

    async def _listen(self) -> None:
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                await self._inputs.put(getattr(message, message.WhichOneof("kind") or "exec"))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        finally:
            self._gone.set()
