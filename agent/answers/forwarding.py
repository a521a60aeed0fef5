"""A user's connection to a port inside a task: what the user sends goes in, what the task sends comes out.

The socket is one of the task's own network, so that what listens on 127.0.0.1 only is reached too, and no port
is open on the node. Nothing piles up: who does not read makes the other side wait.
"""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from agent.answers.user import User
from agent.network.attachment import NetworkError
from orch.model.names import TaskId
from orch.v1 import control_pb2

CHUNK_BYTES = 256 << 10
CONNECT_SECONDS = 10.0
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # struct linger


class Insides(Protocol):
    """agent.network.network.Network."""

    def addresses_of(self, task: str) -> tuple[str, ...]: ...
    async def socket_inside(self, task: str, family: int, kind: int) -> socket.socket: ...


async def forward(insides: Insides, task: TaskId, port: int, user: User) -> control_pb2.ForwardOutput | None:
    """Until both sides have ended, or one has gone; returns why it broke, None where it did not."""
    try:
        link = await _connected(insides, task, port)
    except (NetworkError, OSError, TimeoutError) as error:
        return control_pb2.ForwardOutput(broken=_sentence(error, task, port))
    with link:
        await user.say(forward=control_pb2.ForwardOutput(opened=control_pb2.ForwardOpened()))
        into = asyncio.create_task(_into(link, user))
        out = asyncio.create_task(_out_of(link, user))
        leaving = asyncio.create_task(user.wait_gone())
        try:
            both = asyncio.ensure_future(_first_failure(into, out))
            await asyncio.wait({both, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if both.done() and both.result() is None:
                return None
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            return control_pb2.ForwardOutput(broken="") if both.done() else None
        finally:
            for each in (into, out, leaving, both):
                each.cancel()
            await asyncio.gather(into, out, leaving, both, return_exceptions=True)


async def _connected(insides: Insides, task: TaskId, port: int) -> socket.socket:
    """To loopback first, as kubectl does, then to the task's own addresses: some listen on nothing else."""
    refusals: list[Exception] = []
    async with asyncio.timeout(CONNECT_SECONDS):
        for family, address in _places(insides.addresses_of(task.key)):
            try:
                link = await insides.socket_inside(task.key, family, socket.SOCK_STREAM)
                await _connect(link, (address, port))
            except (NetworkError, OSError) as error:
                refusals.append(error)
            else:
                return link
    raise refusals[0]


async def _connect(link: socket.socket, to: tuple[str, int]) -> None:
    """Closed where that fails."""
    try:
        await asyncio.get_running_loop().sock_connect(link, to)
    except BaseException:
        link.close()
        raise
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _places(addresses: Sequence[str]) -> Iterator[tuple[int, str]]:
    yield socket.AF_INET, "127.0.0.1"
    for each in addresses:
        yield socket.AF_INET6 if ":" in each else socket.AF_INET, each
    yield socket.AF_INET6, "::1"


async def _first_failure(*tasks: asyncio.Task[None]) -> BaseException | None:
    """None when all of them have ended well."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    return next((error for each in done if (error := each.exception())), None)


async def _into(link: socket.socket, user: User) -> None:
    """Until the user will send no more."""
    loop = asyncio.get_running_loop()
    while (heard := await user.hear()) is not None:
        match heard.WhichOneof("kind"):
            case "data":
                await loop.sock_sendall(link, heard.data)
            case "closed":
                with contextlib.suppress(OSError):  # the other side has closed all of it already
                    link.shutdown(socket.SHUT_WR)
                return


async def _out_of(link: socket.socket, user: User) -> None:
    """Until the task's side will send no more."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(link, CHUNK_BYTES):
        await user.say(forward=control_pb2.ForwardOutput(data=data))
    await user.say(forward=control_pb2.ForwardOutput(closed=True))


def _sentence(error: Any, task: TaskId, port: int) -> str:
    if isinstance(error, TimeoutError):
        return f"{task.full_name} did not take the connection to port {port} within {CONNECT_SECONDS:g} s"
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return f"nothing listens on port {port} in {task.full_name} (connection refused)"
    return f"{task.full_name} cannot be reached inside: {error}"
