"""What orch-dns is told of a service."""

import json

from agent import names
from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ServiceName, TaskId
from orch.model.policy import PortSpec

WEB = ServiceName("default", "web")


def an_endpoint(slot: int, address: str, *, ready: bool = True, attempt: int = 1, **more: object) -> Endpoint:
    return Endpoint(TaskId("default", "web", 7, slot, attempt), "n1", (address,), ready, **more)


def said(*endpoints: Endpoint, **more: object) -> object:
    return json.loads(names.line(ServiceEndpoints(WEB, endpoints, **more)))


def test_a_line_has_the_virtual_address_named_ports_and_all_tasks() -> None:
    ports = (
        PortSpec(name="http", target=8080, port=80),
        PortSpec(target=9000),
        PortSpec(name="dns", target=53, protocol="udp"),
    )

    assert said(
        an_endpoint(2, "10.0.0.2", ready=False),
        an_endpoint(1, "10.0.0.1"),
        virtual_addresses=("10.224.0.5",),
        ports=ports,
    ) == [
        ["10.224.0.5"],
        [["http", "tcp", 80, 8080], ["dns", "udp", 53, 53]],
        [[1, 1, ["10.0.0.1"]], [2, 0, ["10.0.0.2"]]],
    ]


def test_the_later_attempt_of_a_slot_comes_later() -> None:
    later, earlier = an_endpoint(1, "10.0.0.9", attempt=12), an_endpoint(1, "10.0.0.1", attempt=3)

    assert said(later, earlier)[2] == [[1, 1, ["10.0.0.1"]], [1, 1, ["10.0.0.9"]]]


def test_a_task_of_another_revision_says_where_its_named_ports_are() -> None:
    ports = (PortSpec(target=9000), PortSpec(name="http", target=8080))

    assert said(an_endpoint(1, "10.0.0.1", targets=(9000, 8000)), ports=ports)[2] == [
        [1, 1, ["10.0.0.1"], [8000]]
    ]


def test_a_service_that_has_not_changed_is_not_said_anew() -> None:
    same = ServiceEndpoints(WEB, (an_endpoint(1, "10.0.0.1"),))
    other = ServiceName("shop", "cart")
    lines = names.Lines()
    first = lines.of(EndpointSection(Stamp(), 1, (same, ServiceEndpoints(other))))

    changed = ServiceEndpoints(other, (an_endpoint(1, "10.0.0.7"),))
    second = lines.of(EndpointSection(Stamp(), 2, (same, changed)))

    assert set(second) == {"web.default", "cart.shop"}
    assert second["web.default"] is first["web.default"]
    assert "10.0.0.7" in second["cart.shop"]
    assert list(lines.of(EndpointSection(Stamp(), 3, (changed,)))) == ["cart.shop"]
