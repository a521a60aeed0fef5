"""Where a request is led: by host, path, weight, revision and who asks."""

import asyncio
import dataclasses
import time

import pytest

from agent.routes import process
from orch.model.assignment import RevisionShare
from orch.model.network import NetworkSpec, RouteSpec
from tests.kernel import routes_lab
from tests.kernel.routes_lab import HAPROXY, A, Lab, service

pytestmark = [pytest.mark.root, HAPROXY]


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
