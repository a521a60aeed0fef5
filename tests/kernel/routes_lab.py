"""A proxy of a test's own on loopback, services of a few lines behind it, and clients that count what fails."""

import asyncio
import base64
import contextlib
import hashlib
import os
import shutil
import socket
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from agent.routes import process
from agent.routes.config import Places
from agent.routes.proxy import Proxy
from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ObjectName, TaskId
from orch.model.network import RouteSpec
from orch.model.policy import PortSpec

PATIENCE_SECONDS = 30.0
HAPROXY = pytest.mark.skipif(
    shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="needs haproxy"
)
A = RouteSpec(host="a.test")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One endpoint: answers its name and what it was asked; upgrades to an echo; is as slow as it is told."""

    def __init__(self, name: str, port: int, address: str = "127.0.0.1") -> None:
        self.name, self.port, self.address = name, port, address
        self.requests = 0
        self.busy = asyncio.Event()
        """Set for ever once a request is under way."""
        self.pause_seconds = 0.0
        self.status = "200 OK"
        self.last: dict[str, str] = {}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def begin(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, self.address, self.port, backlog=512)
        return self

    async def end(self) -> None:
        """As a kill does: no new connection, and those that are there are cut."""
        if self._server is not None:
            self._server.close()
            for each in self._open:
                each.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        self.last = headers | {"request": head[0]}
        self.requests += 1
        if headers.get("upgrade", "").lower() == "websocket":
            key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            )
            while data := await reader.read(65536):
                writer.write(data)
            return False
        await reader.readexactly(int(headers.get("content-length", "0")))
        self.busy.set()
        if self.pause_seconds:
            await asyncio.sleep(self.pause_seconds)
        body = f"{self.name} {head[0].split(' ')[1]}\n".encode()
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (self.status.encode(), len(body), body))
        await writer.drain()
        return True


@dataclass
class Lab:
    folder: Path
    places: Places
    proxy: Proxy
    servers: list[Server] = field(default_factory=list)
    _next: int = 0

    async def server(self, name: str) -> Server:
        found = await Server(name, free_port()).begin()
        self.servers.append(found)
        return found

    async def set(self, *services: ServiceEndpoints, pems: dict[ObjectName, str] | None = None) -> float:
        """Seconds it took."""
        began = time.monotonic()
        await self.proxy.set(section(services), pems or {})
        return time.monotonic() - began

    def again(self) -> Proxy:
        """As another agent after a kill: the one before is not told."""
        self.proxy.close()
        self.proxy = Proxy(self.places)
        return self.proxy

    async def get(self, path: str = "/", host: str = "a.test", method: str = "GET", body: bytes = b"") -> str:
        """Status and body."""
        return await get(self.places.http_port, path, host, method, body)

    async def curl(self, *words: str) -> str:
        """With the real one."""
        done = await asyncio.create_subprocess_exec(
            "curl", "-s", "--max-time", "20", *words, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await done.communicate()
        return said.decode()

    def pids(self) -> list[int]:
        return process.found(self.places)


@contextlib.asynccontextmanager
async def lab() -> AsyncIterator[Lab]:
    """Nothing of it is left, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="orch-routes-") as name:
        folder = Path(name)
        uid, gid = process.account()
        places = Places(name, f"{name}/keys", free_port(), free_port(), uid, gid, process.most_connections())
        made = Lab(folder, places, Proxy(places))
        try:
            yield made
        finally:
            made.proxy.close()
            for each in made.servers:
                await each.end()
            await asyncio.to_thread(process.end, places)
            assert process.found(places) == []


def section(services: Iterable[ServiceEndpoints]) -> EndpointSection:
    return EndpointSection(Stamp("c", 1, 1, 1), 1, tuple(services))


def service(
    name: str, servers: Iterable[Server | tuple[Server, int]], *routes: RouteSpec, namespace: str = "default"
) -> ServiceEndpoints:
    """Ready endpoints on loopback, each on its own port; a pair is a server and its revision."""
    endpoints = []
    for slot, each in enumerate(servers, 1):
        one, revision = each if isinstance(each, tuple) else (each, 1)
        task = TaskId(namespace, name, one.port, slot, 1)
        endpoints.append(Endpoint(task, "n", (one.address,), revision=revision, targets=(one.port,)))
    return ServiceEndpoints(
        ObjectName(namespace, name),
        tuple(endpoints),
        ports=(PortSpec(target=80, name="http"),),
        routes=routes,
    )


async def get(
    port: int, path: str = "/", host: str = "a.test", method: str = "GET", body: bytes = b""
) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_request(path, host, method, body, "Connection: close\r\n"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            said = await reader.read()
    finally:
        writer.close()
    head, _, rest = said.partition(b"\r\n\r\n")
    return f"{head.split(b' ')[1].decode()} {rest.decode()}"


def _request(path: str, host: str, method: str, body: bytes, more: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}{length}\r\n".encode() + body


@dataclass
class Load:
    """Requests at a rate until it is told to end: those that answered, by who did, and those that failed."""

    port: int
    per_second: float = 500.0
    connections: int = 20
    host: str = "a.test"
    method: str = "GET"
    keep: bool = True
    address: str = "127.0.0.1"
    answered: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    _over: bool = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self.connections)]
        await self.has(self.connections * 2)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    @property
    def done(self) -> int:
        return sum(self.answered.values()) + sum(self.failed.values())

    async def has(self, more: int) -> None:
        """Until so many more requests are over."""
        until, deadline = self.done + more, time.monotonic() + PATIENCE_SECONDS
        while self.done < until:
            assert time.monotonic() < deadline, f"{self.answered} {self.failed}"
            await asyncio.sleep(0.005)  # a load says nothing by itself

    async def _client(self) -> None:
        pause = self.connections / self.per_second
        loop = asyncio.get_running_loop()
        next_at = loop.time()
        reader = writer = None
        while not self._over:
            try:
                if writer is None or not self.keep:
                    if writer is not None:
                        writer.close()
                    reader, writer = await asyncio.open_connection(self.address, self.port)
                said = await self._once(reader, writer)  # type: ignore[arg-type]
                if said is None:  # closed between two requests, as HTTP/1.1 allows: a client begins again
                    writer.close()
                    writer = None
                    continue
                (self.answered if said.startswith("200") else self.failed)[said] += 1
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.failed[type(error).__name__] += 1
                writer = None
            next_at = max(next_at + pause, loop.time() - 0.1)
            await asyncio.sleep(next_at - loop.time())
        if writer is not None:
            writer.close()

    async def _once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str | None:
        if reader.at_eof():
            return None
        body = b"x" * 10 if self.method == "POST" else b""
        writer.write(_request("/", self.host, self.method, body))
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError as error:
            if error.partial or self.method == "POST":
                raise
            return None
        length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
        body = await reader.readexactly(length)
        if "connection: close" in head.lower():
            writer.close()
            await reader.read()
        return (
            f"{head.split(' ')[1]} {body.decode().split(' ')[0]}" if " 200 " in head else head + body.decode()
        )


def trusting() -> ssl.SSLContext:
    """Of a client that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def user_of(pid: int) -> int:
    return os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116


async def in_thread(what: Callable[..., object], *arguments: object) -> object:
    """While a load goes on."""
    return await asyncio.to_thread(what, *arguments)
