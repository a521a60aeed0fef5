"""What keeps a node from serving routes is named, and what it can serve is served."""

import asyncio
import os
import socket
import time

import pytest

from agent.routes import process
from agent.routes.proxy import Proxy
from orch.model.network import RouteSpec
from tests.kernel import routes_lab
from tests.kernel.routes_lab import HAPROXY, A, Lab, service
from tests.kernel.routes_tls import CERT, https, pem

pytestmark = [pytest.mark.root, HAPROXY]


async def test_a_port_that_another_process_has_is_named_and_the_other_one_served(lab: Lab) -> None:
    web = await lab.server("web")
    with socket.create_server(("127.0.0.1", lab.places.http_port)):
        tls = RouteSpec(host="a.test", tls="cert")
        await lab.set(service("web", [web], tls), pems={CERT: pem("a.test")})
        (problem,) = lab.proxy.problems()
        assert await https(lab, "a.test") == "web /\n"

    assert f"port {lab.places.http_port} is taken by " in problem
    assert f"(pid {os.getpid()})" in problem
    deadline = time.monotonic() + routes_lab.PATIENCE_SECONDS
    while lab.proxy.problems():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert (await lab.get()).startswith("308")


async def test_without_haproxy_the_node_says_what_to_install(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = await lab.server("web")
    monkeypatch.setattr(process, "PROGRAM", "haproxy-that-is-not-there")
    lab.proxy = Proxy(lab.places)

    await lab.set(service("web", [web], A))

    assert lab.proxy.problems() == [process.MISSING]
