"""Endpoints come and go behind a proxy that goes on, and no request fails of it."""

import asyncio
import time

import pytest

from agent.routes import control, seen
from orch.model.network import RouteSpec
from tests.kernel import routes_lab
from tests.kernel.routes_lab import HAPROXY, A, Lab, Load, service

pytestmark = [pytest.mark.root, HAPROXY]


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
