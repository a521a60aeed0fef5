"""Requests are counted, with their results and times, for those who watch a rollout."""

import asyncio
import time

import pytest

from orch.model.names import ObjectName
from orch.model.network import RouteSpec
from orch.model.traffic import RevisionTraffic, quantile
from tests.kernel import routes_lab
from tests.kernel.routes_lab import HAPROXY, A, Lab, Load, service

pytestmark = [pytest.mark.root, HAPROXY]


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
