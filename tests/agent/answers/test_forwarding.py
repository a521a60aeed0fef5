"""A connection between a user and a port, over real sockets; the user's end of the stream is scripted."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio

from agent.answers import forwarding
from agent.answers.user import User
from orch.model.names import TaskId
from orch.v1 import control_pb2, sessions_pb2

TASK = TaskId("default", "web", 1, 2, 3)
BOUND_SECONDS = 30


class Call:
    """The stream to the user: what is said is kept, and taken only while the user reads."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.inputs: asyncio.Queue[Any] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.waits = asyncio.Event()
        self.news = asyncio.Condition()

    async def write(self, message: sessions_pb2.AnswerUp) -> None:
        self.waits.set()
        await self.reads.wait()
        async with self.news:
            self.said.append(message.forward)
            self.news.notify_all()

    async def read(self) -> Any:
        return await self.inputs.get()

    def cancel(self) -> None:
        pass

    def type(self, **kind: Any) -> None:
        self.inputs.put_nowait(sessions_pb2.AnswerDown(forward=control_pb2.ForwardInput(**kind)))

    def heard(self) -> bytes:
        return b"".join(each.data for each in self.said)

    async def until(self, claim: Callable[[], bool]) -> None:
        async with self.news:
            await asyncio.wait_for(self.news.wait_for(claim), BOUND_SECONDS)


class Outside:
    """Sockets of this machine in place of a task's."""

    def addresses_of(self, _task: str) -> tuple[str, ...]:
        return ("127.0.0.9",)

    async def socket_inside(self, _task: str, family: int, kind: int) -> socket.socket:
        return socket.socket(family, kind | socket.SOCK_NONBLOCK)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def forwarded(
    handler: Handler, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Call, asyncio.Task[control_pb2.ForwardOutput | None]]]:
    server = await asyncio.start_server(handler, host, 0)
    call = Call()
    user = User(call)
    port = server.sockets[0].getsockname()[1]
    work = asyncio.create_task(forwarding.forward(Outside(), TASK, port, user))
    try:
        yield call, work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        user.hang_up()
        server.close()


async def test_an_answer_after_the_users_end_of_input_arrives_whole() -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await reader.read()
        writer.write(b"%d bytes" % len(got))
        writer.close()

    async with forwarded(count) as (call, work):
        for _ in range(50):
            call.type(data=b"x" * 100_000)
        call.type(closed=True)

        assert await asyncio.wait_for(work, BOUND_SECONDS) is None
    assert call.said[0].WhichOneof("kind") == "opened"
    assert call.heard() == b"5000000 bytes"
    assert call.said[-1].closed


async def test_input_goes_on_after_the_tasks_end_of_output() -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def end_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        got.set_result(await reader.read())
        writer.close()

    async with forwarded(end_first) as (call, work):
        await call.until(lambda: bool(call.said) and call.said[-1].closed)
        call.type(data=b"still here")
        call.type(closed=True)

        assert await asyncio.wait_for(got, BOUND_SECONDS) == b"still here"
        assert await asyncio.wait_for(work, BOUND_SECONDS) is None


async def test_a_task_waits_for_a_user_who_does_not_read() -> None:
    flood = 64 << 20
    sent = asyncio.Event()

    async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(flood >> 16):
            writer.write(b"\0" * (1 << 16))
            await writer.drain()
        sent.set()
        writer.close()

    async with forwarded(pour) as (call, work):
        await call.until(lambda: bool(call.said))
        call.reads.clear()
        call.waits.clear()
        await asyncio.wait_for(call.waits.wait(), BOUND_SECONDS)
        before = len(call.heard())
        for _ in range(200):
            await asyncio.sleep(0)
        assert not sent.is_set()
        assert len(call.heard()) == before

        call.reads.set()
        call.type(closed=True)
        assert await asyncio.wait_for(work, BOUND_SECONDS) is None
    assert sent.is_set()
    assert len(call.heard()) == flood


async def test_a_reset_is_a_reset_at_the_users_end() -> None:
    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with forwarded(reset) as (_, work):
        broken = await asyncio.wait_for(work, BOUND_SECONDS)
    assert broken is not None
    assert (broken.WhichOneof("kind"), broken.broken) == ("broken", "")


async def test_a_port_of_the_tasks_own_address_is_found_too() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with forwarded(greet, "127.0.0.9") as (call, work):
        call.type(closed=True)
        assert await asyncio.wait_for(work, BOUND_SECONDS) is None
    assert call.heard() == b"hello"


async def test_nobody_listening_is_said_in_a_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        call = Call()
        user = User(call)
        broken = await forwarding.forward(Outside(), TASK, port, user)
        user.hang_up()

    assert broken is not None
    assert broken.broken == f"nothing listens on port {port} in web.2.3 (connection refused)"


async def test_a_user_who_goes_ends_the_connection() -> None:
    ended = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        ended.set()
        writer.close()

    async with forwarded(listen) as (call, work):
        await call.until(lambda: bool(call.said))
        call.inputs.put_nowait(grpc.aio.EOF)

        assert await asyncio.wait_for(work, BOUND_SECONDS) is None
        await asyncio.wait_for(ended.wait(), BOUND_SECONDS)
