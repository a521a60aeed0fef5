"""The proxy's processes follow each other, and agents too; who is connected does not notice."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import time

import pytest

from agent.routes import process
from orch.model.assignment import ServiceEndpoints
from orch.model.network import RouteSpec
from tests.kernel import routes_lab
from tests.kernel.routes_lab import HAPROXY, A, Lab, Load, service
from tests.kernel.routes_tls import CERT, pem, shown

pytestmark = [pytest.mark.root, HAPROXY]


async def test_no_request_fails_while_a_new_process_takes_over(lab: Lab) -> None:
    web = await lab.server("web")
    await lab.set(service("web", [web], A))

    async with Load(lab.places.http_port, keep=False) as new, Load(lab.places.http_port) as kept:
        for number in range(4):
            more = [
                service(f"more{each}", [web], RouteSpec(host=f"{each}.test")) for each in range(number + 1)
            ]
            await lab.set(service("web", [web], A), *more)
            await new.has(60)

    assert lab.proxy.reloads == 4
    assert (new.failed, kept.failed) == ({}, {})


async def upgraded(lab: Lab) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.places.http_port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


async def test_a_websocket_outlives_changes_elsewhere_a_new_process_and_its_own_draining(lab: Lab) -> None:
    one, two = await lab.server("one"), await lab.server("two")
    await lab.set(service("web", [one], A))
    reader, writer = await upgraded(lab)

    async def echoed(word: bytes) -> bytes:
        writer.write(word)
        async with asyncio.timeout(routes_lab.PATIENCE_SECONDS):
            return await reader.readexactly(len(word))

    try:
        assert await echoed(b"hello") == b"hello"
        await lab.set(service("web", [one, two], A))
        assert await echoed(b"endpoint") == b"endpoint"
        await lab.set(service("web", [two], A))
        assert await echoed(b"draining") == b"draining"
        await lab.set(service("web", [two], A), service("other", [two], RouteSpec(host="o.test")))
        assert lab.proxy.reloads == 1
        assert await echoed(b"reloaded") == b"reloaded"
    finally:
        writer.close()


async def test_processes_that_leave_are_not_more_and_more(lab: Lab) -> None:
    """Each is kept by a WebSocket that never ends."""
    web, most = await lab.server("web"), process.MOST_LEAVING
    more: list[ServiceEndpoints] = []
    open_: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        for number in range(most + 2):
            await lab.set(service("web", [web], A), *more)
            open_.append(await upgraded(lab))
            more.append(service(f"more{number}", [web], RouteSpec(host=f"{number}.test")))
        async with asyncio.timeout(routes_lab.PATIENCE_SECONDS):
            assert await open_[0][0].read() == b"", "the oldest has ended"
        deadline = time.monotonic() + routes_lab.PATIENCE_SECONDS
        while len(lab.pids()) > most + 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        for reader, writer in open_[1:]:
            writer.write(b"still")
            async with asyncio.timeout(routes_lab.PATIENCE_SECONDS):
                assert await reader.readexactly(5) == b"still"
    finally:
        for _, writer in open_:
            writer.close()


async def test_a_process_that_leaves_ends_also_with_a_connection_that_does_not(lab: Lab) -> None:
    web = await lab.server("web")
    lab.places = dataclasses.replace(lab.places, leaving_seconds=1)
    lab.again()
    await lab.set(service("web", [web], A))
    reader, writer = await upgraded(lab)
    first = lab.pids()

    await lab.set(service("web", [web], A), service("other", [web], RouteSpec(host="o.test")))

    async with asyncio.timeout(routes_lab.PATIENCE_SECONDS):
        assert await reader.read() == b""
    writer.close()
    assert (await lab.get()).startswith("200 web")
    deadline = time.monotonic() + routes_lab.PATIENCE_SECONDS
    while set(first) & set(lab.pids()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_without_a_route_there_is_no_proxy_and_what_is_under_way_is_answered(lab: Lab) -> None:
    web = await lab.server("web")
    web.pause_seconds = 1.0
    await lab.set(service("web", [web]))
    assert lab.pids() == []
    await lab.set(service("web", [web], A))
    waiting = asyncio.create_task(lab.get())
    await web.busy.wait()

    await lab.set(service("web", [web]))

    assert (await waiting).startswith("200 web")
    deadline = time.monotonic() + routes_lab.PATIENCE_SECONDS
    while lab.pids():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_killed_proxy_is_back_at_once(lab: Lab) -> None:
    web = await lab.server("web")
    await lab.set(service("web", [web], A))
    (pid,) = lab.pids()

    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    said = ""
    while not said.startswith("200"):
        assert time.monotonic() - began < routes_lab.PATIENCE_SECONDS
        with contextlib.suppress(OSError, IndexError):
            said = await lab.get()
        await asyncio.sleep(0.01)

    assert pid not in lab.pids()


async def test_another_agent_finds_the_proxy_and_goes_on_with_it(lab: Lab) -> None:
    one, two, three = [await lab.server(name) for name in ("one", "two", "three")]
    tls = RouteSpec(host="a.test", tls="cert", redirect=False)
    pems = {CERT: pem("a.test")}
    await lab.set(service("web", [one, two], tls), pems=pems)
    (pid,) = lab.pids()

    async with Load(lab.places.http_port) as load:
        lab.again()
        await load.has(50)
        await lab.set(service("web", [two, three], tls), pems=pems)
        await load.has(50)

    assert load.failed == {}
    assert lab.pids() == [pid]
    assert {(await lab.get()).split()[1] for _ in range(6)} == {"two", "three"}
    assert await shown(lab, "a.test") == "a.test"
