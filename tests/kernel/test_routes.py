"""HTTP routes through a real HAProxy, with services of a few lines behind it."""

# ruff: noqa: ASYNC240  /proc and small files do not block

import asyncio
import contextlib
import dataclasses
import os
import re
import shutil
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent import routing
from agent.routes import control, process, seen
from agent.routes.proxy import Proxy
from orch.model.assignment import RevisionShare, ServiceEndpoints
from orch.model.names import ObjectName
from orch.model.network import NetworkSpec, RouteSpec
from orch.model.traffic import RevisionTraffic, quantile
from tests.kernel import routes_lab
from tests.kernel.routes_lab import Lab, Load, service
from tests.support.pairs import pair

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="needs haproxy"),
]

A = RouteSpec(host="a.test")
CERT = ObjectName("default", "cert")


def pem(*hosts: str) -> str:
    return routing.pem(pair(*hosts))


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with routes_lab.lab() as made:
        yield made


# ── where a request is led ────────────────────────────────────────────────────────────────────────────────


async def test_the_host_and_the_longest_path_say_which_service_answers(lab: Lab) -> None:
    web, api, v2, other = [await lab.server(name) for name in ("web", "api", "v2", "other")]
    await lab.set(
        service("web", [web], A),
        service("api", [api], RouteSpec(host="A.test", path="/api")),
        service("v2", [v2], RouteSpec(host="a.test", path="/api/v2/")),
        service("other", [other], RouteSpec(), RouteSpec(host="*.wild.test", path="/")),
    )

    asked = {
        ("a.test", "/"): "web",
        ("A.TEST:8080", "/index.html?x=/api"): "web",
        ("a.test", "/apix"): "web",
        ("a.test", "/api"): "api",
        ("a.test", "/api?y"): "api",
        ("a.test", "/api/v1/x"): "api",
        ("a.test", "/api/v2"): "v2",
        ("a.test", "/api/v2/x"): "v2",
        ("b.test", "/api"): "other",
        ("x.wild.test", "/"): "other",
    }
    said = {(host, path): (await lab.get(path, host)).split()[1] for host, path in asked}

    assert said == asked


async def test_who_asks_for_what_is_not_there_is_told_why(lab: Lab) -> None:
    web = await lab.server("web")
    await lab.set(
        service("web", [web], A), service("none", [], RouteSpec(host="none.test"), namespace="shop")
    )

    assert await lab.get("/x", "b.test") == "404 no route leads from b.test/x to a service\n"
    assert await lab.get("/", "none.test") == "503 service shop/none has no ready endpoint\n"
    await web.end()
    assert await lab.get("/", "a.test") == "503 service web could not be reached\n"


async def test_ranges_of_allow_from_govern_who_comes_by_routes(lab: Lab) -> None:
    web = await lab.server("web")
    url = f"http://127.0.0.1:{lab.places.http_port}/"

    async def asked(*words: str, of: str) -> str:
        limited = NetworkSpec(allow_from=words)
        await lab.set(dataclasses.replace(service("web", [web], A), network=limited))
        return await lab.curl("--interface", of, "-w", "%{http_code}", "-H", "Host: a.test", url)

    many = [f"198.51.{number}.0/24" for number in range(100)]
    assert (await asked("svc/other", "127.0.0.2/31", of="127.0.0.3")).startswith("web")
    assert (
        await asked(*many, "127.0.0.2", of="127.0.0.3") == "service web takes no requests from 127.0.0.3\n403"
    )
    assert (await asked(*many, "127.0.0.2", of="127.0.0.2")).startswith("web")
    assert (await asked("198.51.100.0/24", of="127.0.0.1")).startswith("web"), "from the node itself"
    assert (await asked("198.51.100.0/24", "*", of="127.0.0.3")).startswith("web")
    assert (await asked("svc/other", of="127.0.0.3")).startswith("web"), (
        "what is published is open to the outside"
    )
    assert (await asked(of="127.0.0.3")).startswith("web")


async def test_services_that_share_a_place_get_requests_by_weight(lab: Lab) -> None:
    one, two = await lab.server("one"), await lab.server("two")
    await lab.set(
        service("one", [one], RouteSpec(host="a.test", weight=90)),
        service("two", [two], RouteSpec(host="a.test", weight=10)),
    )
    for _ in range(300):
        await lab.get()
    assert 5 <= two.requests <= 70  # 30 expected; far beyond chance at either end
    before = two.requests

    await lab.set(
        service("one", [one], RouteSpec(host="a.test", weight=1)),
        service("two", [two], RouteSpec(host="a.test", weight=0)),
    )
    for _ in range(50):
        await lab.get()

    assert two.requests == before
    assert lab.proxy.reloads == 0


async def test_revisions_get_requests_by_their_shares_and_these_change_at_run_time(lab: Lab) -> None:
    old, new = await lab.server("old"), await lab.server("new")
    both = service("web", [(old, 1), (new, 2)], A)
    for shares, expected in ((), 50), ((90, 10), 10), ((0, 100), 100), ((100, 0), 0):
        told = tuple(RevisionShare(revision, weight) for revision, weight in enumerate(shares, 1))
        await lab.set(dataclasses.replace(both, shares=told))
        came = [(await lab.get()).split()[1] for _ in range(100)].count("new")
        assert abs(came - expected) <= 2, (shares, came)
    assert lab.proxy.reloads == 0


async def test_containers_may_speak_http_2_without_tls(lab: Lab) -> None:
    """The container here is another HAProxy, which takes nothing else."""
    port, path = routes_lab.free_port(), lab.folder / "h2c.cfg"
    path.write_text(
        "defaults\n  mode http\n  timeout client 9s\n  timeout server 9s\n  timeout connect 9s\nfrontend in\n"
        f"  bind 127.0.0.1:{port} proto h2\n"
        "  http-request return status 200 content-type text/plain lf-string %[req.ver]\n"
    )
    running = await asyncio.create_subprocess_exec(process.program(), "-db", "-q", "-f", str(path))
    try:
        spoken = routes_lab.Server("h2", port)
        await lab.set(service("web", [spoken], RouteSpec(host="a.test", protocol="h2c")))
        said = ""
        deadline = time.monotonic() + routes_lab.PATIENCE_SECONDS
        while said != "200 2.0" and time.monotonic() < deadline:
            said = await lab.get()
        assert said == "200 2.0"
    finally:
        running.kill()
        await running.wait()


async def test_a_service_sees_who_asked_and_how(lab: Lab) -> None:
    web = await lab.server("web")
    await lab.set(service("web", [web], RouteSpec(host="a.test", path="/app", strip_path=True)))

    said = await lab.curl(
        "-H",
        "Host: a.test",
        "-H",
        "X-Forwarded-For: 6.6.6.6",
        f"http://127.0.0.1:{lab.places.http_port}/app/x?y=1",
    )

    assert said == "web /x?y=1\n"
    assert web.last["x-forwarded-for"] == "127.0.0.1"
    assert (web.last["x-forwarded-proto"], web.last["host"]) == ("http", "a.test")


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────


async def shown(lab: Lab, host: str) -> str:
    """The host in the certificate that is shown to who asks for this one."""
    context = routes_lab.trusting()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", lab.places.https_port, ssl=context, server_hostname=host
    )
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    found = re.search(rb"[a-z0-9]+\.test", der)
    assert found is not None and reader is not None
    return found[0].decode()


async def https(lab: Lab, host: str, *words: str) -> str:
    port = lab.places.https_port
    return await lab.curl("-k", *words, "--resolve", f"{host}:{port}:127.0.0.1", f"https://{host}:{port}/")


async def test_each_host_shows_its_own_certificate_and_speaks_http_2(lab: Lab) -> None:
    web, own = await lab.server("web"), ObjectName("default", "b")
    routes = RouteSpec(host="a.test", tls="cert"), RouteSpec(host="b.test", tls="b")
    await lab.set(service("web", [web], *routes), pems={CERT: pem("a.test"), own: pem("b.test")})

    assert [await shown(lab, host) for host in ("a.test", "b.test")] == ["a.test", "b.test"]
    assert (
        await https(lab, "a.test", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}")
        == "2 200"
    )
    assert await https(lab, "a.test", "--http1.1", "-o", "/dev/null", "-w", "%{http_version}") == "1.1"
    assert web.last["x-forwarded-proto"] == "https"
    with pytest.raises((ssl.SSLError, OSError)):
        await shown(lab, "c.test")


async def test_who_comes_by_http_is_sent_to_https_unless_the_route_says_otherwise(lab: Lab) -> None:
    web = await lab.server("web")
    both = RouteSpec(host="a.test", path="/open", tls="cert", redirect=False)
    await lab.set(
        service("web", [web], RouteSpec(host="a.test", tls="cert"), both), pems={CERT: pem("a.test")}
    )

    http = f"http://127.0.0.1:{lab.places.http_port}"
    words = "-H", "Host: a.test:80", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"
    assert await lab.curl(*words, f"{http}/x?y=1") == f"308 https://a.test:{lab.places.https_port}/x?y=1"
    assert await lab.curl(*words, f"{http}/open") == "200 "


async def test_certificates_come_change_and_go_without_a_new_process(lab: Lab) -> None:
    web = await lab.server("web")
    a, b = RouteSpec(host="a.test", tls="cert"), RouteSpec(host="b.test", tls="b")
    own = ObjectName("default", "b")
    await lab.set(service("web", [web], a, b), pems={CERT: pem("a.test")})
    assert lab.proxy.problems() == ["HTTPS for b.test: the secret b has not come from the control plane"]

    await lab.set(service("web", [web], a, b), pems={CERT: pem("a.test"), own: pem("b.test")})
    assert await shown(lab, "b.test") == "b.test"
    await lab.set(service("web", [web], a, b), pems={CERT: pem("a2.test"), own: pem("b.test")})
    assert await shown(lab, "a.test") == "a2.test"
    await lab.set(service("web", [web], a), pems={CERT: pem("a3.test")})

    with pytest.raises((ssl.SSLError, OSError)):
        await shown(lab, "b.test")
    assert await shown(lab, "a.test") == "a3.test"
    assert (lab.proxy.reloads, lab.proxy.problems()) == (0, [])


async def test_keys_are_for_root_alone_and_the_proxy_is_not_root(lab: Lab) -> None:
    web = await lab.server("web")
    await lab.set(service("web", [web], RouteSpec(host="a.test", tls="cert")), pems={CERT: pem("a.test")})

    (pid,) = lab.pids()
    keys = list((lab.folder / "keys").glob("*.pem"))
    assert [each.stat().st_mode & 0o777 for each in (lab.folder / "keys", *keys)] == [0o700, 0o400]
    assert routes_lab.user_of(pid) == lab.places.uid != 0
    assert str(Path(f"/proc/{pid}/root").readlink()) == lab.places.jail


# ── endpoints come and go ─────────────────────────────────────────────────────────────────────────────────


async def test_endpoints_change_within_100_ms_and_without_a_new_process(lab: Lab) -> None:
    servers = [await lab.server(f"s{number}") for number in range(4)]
    await lab.set(service("web", servers[:1], A))
    (pid,) = lab.pids()

    took = [await lab.set(service("web", servers[:count], A)) for count in (2, 3, 4, 1, 3)]
    said = {(await lab.get()).split()[1] for _ in range(12)}

    assert said == {"s0", "s1", "s2"}
    assert lab.pids() == [pid]
    assert min(took) < 0.1


async def test_no_request_fails_while_endpoints_leave_and_come(lab: Lab) -> None:
    servers = [await lab.server(f"s{number}") for number in range(3)]
    await lab.set(service("web", servers, A))

    async with Load(lab.places.http_port, per_second=1000) as load:
        for number in range(12):
            staying = [each for index, each in enumerate(servers) if index != number % 3]
            left = servers[number % 3]
            await lab.set(service("web", staying, A))
            await load.has(20)  # what was under way is over
            before = left.requests
            await load.has(60)
            assert left.requests == before
            await lab.set(service("web", servers, A))
            await load.has(60)

    assert load.failed == {}
    assert {word.split()[1] for word in load.answered} == {"s0", "s1", "s2"}
    assert lab.proxy.reloads == 0


async def test_requests_under_way_on_an_endpoint_that_leaves_are_answered(lab: Lab) -> None:
    slow, other = await lab.server("slow"), await lab.server("other")
    slow.pause_seconds = 1.5
    await lab.set(service("web", [slow], A))
    waiting = asyncio.create_task(lab.get())
    await slow.busy.wait()

    await lab.set(service("web", [other], A))

    assert (await lab.get()).startswith("200 other")
    assert (await waiting).startswith("200 slow")


async def test_an_endpoint_that_went_is_taken_out_when_nobody_uses_it(lab: Lab) -> None:
    one, two = await lab.server("one"), await lab.server("two")
    await lab.set(service("web", [one, two], A))
    await lab.get()
    await lab.set(service("web", [two], A))

    deadline = time.monotonic() + routes_lab.PATIENCE_SECONDS
    while f":{one.port} " in (said := await listed(lab)):
        assert time.monotonic() < deadline, said
        await asyncio.sleep(0.1)
    await lab.set(service("web", [one, two], A))

    assert {(await lab.get()).split()[1] for _ in range(4)} == {"one", "two"}


async def listed(lab: Lab) -> str:
    servers = seen.servers(await control.ask(lab.folder / "control.sock", "show servers state"))
    return " ".join(f":{each.port} {each.state}" for there in servers.values() for each in there.values())


async def test_a_request_whose_endpoint_cannot_be_reached_goes_to_another(lab: Lab) -> None:
    gone, well = await lab.server("gone"), await lab.server("well")
    await lab.set(service("web", [gone, well], A))
    await gone.end()

    said = [await lab.get(method=method, body=b"x" * 10) for method in ("GET", "POST") for _ in range(10)]

    assert {each.split()[1] for each in said} == {"well"}


async def test_a_killed_endpoint_fails_no_request_that_may_be_repeated(lab: Lab) -> None:
    servers = [await lab.server(f"s{number}") for number in range(3)]
    await lab.set(service("web", servers, A))

    async with Load(lab.places.http_port, per_second=600) as load:
        await servers[0].end()
        await load.has(100)
        await lab.set(service("web", servers[1:], A))
        await load.has(100)

    assert load.failed == {}


async def test_a_request_that_may_not_be_repeated_is_given_to_one_endpoint_only(lab: Lab) -> None:
    cut, other = await lab.server("cut"), await lab.server("other")
    cut.pause_seconds = 30
    await lab.set(service("web", [cut], A))
    waiting = asyncio.create_task(lab.get(method="POST", body=b"order"))
    await cut.busy.wait()
    await lab.set(service("web", [cut, other], A))

    await cut.end()

    assert (await waiting).startswith("502")
    assert other.requests == 0


async def test_a_new_endpoint_with_a_slow_start_has_its_share_only_later(lab: Lab) -> None:
    old, new = await lab.server("old"), await lab.server("new")
    slowly = RouteSpec(host="a.test", slow_start=8.0)
    await lab.set(service("web", [old], slowly))
    await lab.set(service("web", [old, new], slowly))

    early = [(await lab.get()).split()[1] for _ in range(60)].count("new")
    deadline = time.monotonic() + routes_lab.PATIENCE_SECONDS
    while (late := [(await lab.get()).split()[1] for _ in range(60)].count("new")) < 28:
        assert time.monotonic() < deadline, late
        await asyncio.sleep(0.2)

    assert early < 25


# ── new processes ─────────────────────────────────────────────────────────────────────────────────────────


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


# ── trouble ───────────────────────────────────────────────────────────────────────────────────────────────


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


# ── what it says of requests ──────────────────────────────────────────────────────────────────────────────


async def counted(lab: Lab, requests: int) -> dict[int, RevisionTraffic]:
    """By revision, once so many are told."""
    found: dict[int, RevisionTraffic] = {}
    deadline = time.monotonic() + routes_lab.PATIENCE_SECONDS
    while sum(each.requests for each in found.values()) < requests:
        assert time.monotonic() < deadline, found
        for each in lab.proxy.traffic():
            before = found.get(each.revision, RevisionTraffic(each.service, each.revision))
            found[each.revision] = RevisionTraffic(
                each.service,
                each.revision,
                before.requests + each.requests,
                before.client_errors + each.client_errors,
                before.server_errors + each.server_errors,
                {
                    at: before.latency.get(at, 0) + each.latency.get(at, 0)
                    for at in before.latency | each.latency
                },
            )
        await asyncio.sleep(0.05)
    return found


async def test_every_request_is_counted_by_revision_and_result(lab: Lab) -> None:
    old, new = await lab.server("old"), await lab.server("new")
    new.status, new.pause_seconds = "500 Internal Server Error", 0.05
    await lab.set(service("web", [(old, 1), (new, 2)], A), service("none", [], RouteSpec(host="none.test")))
    for _ in range(20):
        await lab.get()
    await lab.get(host="none.test")

    found = await counted(lab, 21)

    assert [(found[each].requests, found[each].server_errors) for each in (1, 2, 0)] == [
        (10, 0),
        (10, 10),
        (1, 1),
    ]
    assert found[0].service == ObjectName("default", "none")
    assert quantile(found[2].latency, 0.5) >= 45
    assert quantile(found[1].latency, 0.5) < 45


async def test_requests_are_counted_also_while_no_agent_is_there(lab: Lab) -> None:
    web = await lab.server("web")
    await lab.set(service("web", [web], A))
    async with Load(lab.places.http_port) as load:
        await load.has(100)
        lab.again()
        await load.has(300)
        await lab.set(service("web", [web], A))
        await load.has(100)

    assert load.failed == {}
    found = await counted(lab, load.done - 150)  # what the agent had read and not told of is lost with it
    assert found[1].requests <= load.done
    assert await lab.proxy.unmeasured() == 0
