"""Local ports whose connections lead into a task. asyncio: a thread a connection would be two too many.

Each connection is a call of its own: HTTP/2 keeps them apart and makes who sends wait for who reads.
"""

import asyncio
import contextlib
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc import aio

from cli import connection, forwarded
from cli.exits import NotSo
from orch.v1 import control_pb2 as pb
from orch.v1 import control_pb2_grpc

CHUNK_BYTES = 256 << 10
MOST_WAITING = 128
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # struct linger

Say = Callable[[str], None]


class Forwarding:
    """To one service or task; goes on with another of its tasks when one is gone."""

    def __init__(self, client: connection.Client, start: pb.ForwardStart, say: Say, complain: Say) -> None:
        self._client = client
        self._start = start
        self._say = say
        self._complain = complain
        self._channel: Any = None
        self._left: list[Any] = []
        """Channels that only connections from before still use."""
        self._turn = asyncio.Lock()
        self._task = ""
        self._carrying: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Task[None]] = []

    async def serve(self, wanted: Sequence[forwarded.Wanted], addresses: Sequence[str]) -> None:
        """Until told to end by a signal. Raises NotSo, Refused, Unreachable before the first connection."""
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, told.set)
        try:
            for each in wanted:
                await self._listen(each, addresses)
            await told.wait()
        finally:
            for task in (*self._servers, *self._carrying):
                task.cancel()
            await asyncio.gather(*self._servers, *self._carrying, return_exceptions=True)
            for channel in (self._channel, *self._left):
                if channel is not None:
                    await channel.close()

    async def _listen(self, wanted: forwarded.Wanted, addresses: Sequence[str]) -> None:
        opened = await self._look(wanted.remote)
        local = opened.target if wanted.local is None else wanted.local
        doors = _doors(local, addresses)
        for door in doors:
            place = _written(door)
            self._say(f"Forwarding from {place} -> {opened.target}")
            self._servers.append(asyncio.create_task(self._accept(door, wanted.remote)))

    async def _look(self, port: str) -> pb.ForwardOpened:
        """Where it would lead now; a mistake is told before the first connection."""
        call = (await self._stub()).PortForward()
        try:
            await call.write(pb.ForwardInput(start=self._starting(port, look=True)))
            first = await call.read()
        except aio.AioRpcError as error:
            raise self._client.meaning(error) from None
        finally:
            call.cancel()
        if first is aio.EOF:
            raise NotSo("error: the control plane ended the call before it answered")
        opened: pb.ForwardOpened = first.opened
        return opened

    async def _accept(self, door: socket.socket, port: str) -> None:
        loop = asyncio.get_running_loop()
        with door:
            while True:
                link, _ = await loop.sock_accept(door)
                link.setblocking(False)
                carrying = asyncio.create_task(self._carry(link, port))
                self._carrying.add(carrying)
                carrying.add_done_callback(self._carrying.discard)

    async def _carry(self, link: socket.socket, port: str) -> None:
        """One connection, from its beginning to its end."""
        with link:
            self._say(f"Handling connection for {link.getsockname()[1]}")
            try:
                why = await self._carried(link, port)
            except aio.AioRpcError as error:
                why = str(self._client.meaning(error))
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    await self._begin_anew()
            except (connection.Unreachable, connection.Refused) as error:
                why = str(error)
            if why is not None:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            if why:
                self._complain(f"error: {_place(link.getpeername)} -> {self._start.name}:{port}: {why}")

    async def _carried(self, link: socket.socket, port: str) -> str | None:
        """Why it broke; None where both sides ended it, empty where one of them reset it."""
        call = (await self._stub()).PortForward()
        sending: asyncio.Task[None] | None = None
        try:
            await call.write(pb.ForwardInput(start=self._starting(port)))
            first = await call.read()
            match first.WhichOneof("kind") if first is not aio.EOF else None:
                case "opened":
                    self._task = first.opened.task
                case "broken":
                    return first.broken or "it was reset"
                case _:
                    return "the node ended the connection before it stood"
            sending = asyncio.create_task(_send(link, call))
            return await _receive(link, call, sending)
        except OSError:
            return ""
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            call.cancel()

    def _starting(self, port: str, *, look: bool = False) -> pb.ForwardStart:
        start = pb.ForwardStart(port=port, task=self._task, look=look)
        start.MergeFrom(self._start)
        return start

    async def _stub(self) -> Any:
        async with self._turn:
            if self._channel is None:
                await asyncio.to_thread(self._client.find)
                self._channel = self._client.open_asynchronous()
            return control_pb2_grpc.ControlStub(self._channel)

    async def _begin_anew(self) -> None:
        """The next connection looks for a control plane that answers; those that go on keep their channel."""
        async with self._turn:
            if self._channel is not None:
                self._left.append(self._channel)
            self._channel = None


async def _send(link: socket.socket, call: Any) -> None:
    """What the local side says, until it says no more. Raises OSError when it is reset."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(link, CHUNK_BYTES):
        await call.write(pb.ForwardInput(data=data))
    await call.write(pb.ForwardInput(closed=True))


async def _receive(link: socket.socket, call: Any, sending: asyncio.Task[None]) -> str | None:
    loop = asyncio.get_running_loop()
    has_closed = False
    while True:
        reading = asyncio.ensure_future(call.read())
        if not sending.done():
            await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() and sending.exception() is not None:
                reading.cancel()
                return ""
        message = await reading
        if message is aio.EOF:
            return None if has_closed else "the node ended the connection (the task or its agent has gone)"
        match message.WhichOneof("kind"):
            case "data":
                await loop.sock_sendall(link, message.data)
            case "closed":
                has_closed = True
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_WR)
            case "broken":
                return str(message.broken)


def _doors(local: int, addresses: Sequence[str]) -> list[socket.socket]:
    """`localhost` is both of its addresses where the machine has both. Raises NotSo when none can be had."""
    doors: list[socket.socket] = []
    refusals: list[str] = []
    for address in addresses:
        for place in ("127.0.0.1", "::1") if address == "localhost" else (address,):
            try:
                doors.append(_door(place, local or (doors[0].getsockname()[1] if doors else 0)))
            except OSError as error:
                is_spare = address == "localhost" and place == "::1" and doors
                if not is_spare:
                    refusals.append(f"cannot listen on {place}:{local}: {error.strerror or error}")
    if refusals:
        for door in doors:
            door.close()
        raise NotSo(
            "error: " + "; ".join(refusals) + ". Choose another local port, or :PORT for any that is free"
        )
    return doors


def _door(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        door.bind((address, port))
        door.listen(MOST_WAITING)
    except OSError:
        door.close()
        raise
    return door


def _written(door: socket.socket) -> str:
    return _place(door.getsockname)


def _place(of: Callable[[], Any]) -> str:
    try:
        host, port = of()[:2]
    except OSError:
        return "?"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
