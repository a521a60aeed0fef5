from collections.abc import Iterator

import pytest

from agent.network.services import wanted
from agent.network.services.groups import Form, Group, Key
from agent.network.services.wanted import Wanted
from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ServiceName, TaskId
from orch.model.policy import PortSpec

VIRTUAL = Key(Form.VIRTUAL, bytes((10, 224, 0, 5)))
TCP, UDP = bytes((6, 0, 0, 0)), bytes((17, 0, 0, 0))


def address(last: int) -> bytes:
    return bytes((10, 208, 4, last))


def seat(last: int, port: int) -> bytes:
    return address(last) + port.to_bytes(2, "big") + b"\0\0"


def door(port: int, protocol: bytes = TCP) -> bytes:
    return protocol + port.to_bytes(2, "big") + b"\0\0"


def endpoint(last: int, *, ready: bool = True, targets: tuple[int, ...] = ()) -> Endpoint:
    task = TaskId("default", "web", 1, last, 1)
    return Endpoint(task, "n1", (f"10.208.4.{last}", "fd00::1"), ready, targets=targets)


def service(
    *endpoints: Endpoint, ports: tuple[PortSpec, ...] = (), name: str = "web", virtual: str = "10.224.0.5"
) -> ServiceEndpoints:
    return ServiceEndpoints(ServiceName("default", name), endpoints, (virtual,), ports)


def section(*services: ServiceEndpoints) -> EndpointSection:
    return EndpointSection(Stamp(), 1, services)


def seats(one: ServiceEndpoints) -> dict[Key, tuple[bytes, ...]]:
    return {key: group.seats for key, group in wanted.of_service(one)}


def test_only_ready_endpoints_are_behind_a_virtual_address() -> None:
    assert seats(service(endpoint(2), endpoint(3, ready=False))) == {VIRTUAL: (address(2),)}
    assert seats(service()) == {VIRTUAL: ()}


def test_a_port_with_the_same_number_inside_needs_no_door() -> None:
    assert seats(service(endpoint(2), ports=(PortSpec(target=80), PortSpec(target=53, protocol="udp")))) == {
        VIRTUAL: (address(2),)
    }


def test_a_port_with_another_number_inside_is_a_door_of_the_virtual_address() -> None:
    found = seats(service(endpoint(2), ports=(PortSpec(target=8080, port=80),)))

    assert found == {VIRTUAL: (address(2),), Key(Form.AT, VIRTUAL.fields + door(80)): (seat(2, 8080),)}


def test_a_revision_without_a_port_is_not_behind_it_and_one_with_another_number_is_led_there() -> None:
    endpoints = (endpoint(2), endpoint(3, targets=(0,)), endpoint(4, targets=(81,)))

    found = seats(service(*endpoints, ports=(PortSpec(target=80),)))

    assert found[Key(Form.AT, VIRTUAL.fields + door(80))] == (seat(2, 80), seat(4, 81))


def test_ingress_ports_are_doors_of_the_node_and_those_of_hosts_are_not_ours() -> None:
    ports = (
        PortSpec(target=80, published=8080, mode="ingress"),
        PortSpec(target=53, published=53, mode="ingress", protocol="udp", host_ip="127.0.0.1"),
        PortSpec(target=90, published=9090, mode="host"),
    )

    assert seats(service(endpoint(2), ports=ports)) == {
        VIRTUAL: (address(2),),
        Key(Form.ANY, door(8080)): (seat(2, 80),),
        Key(Form.AT, bytes((127, 0, 0, 1)) + door(53, UDP)): (seat(2, 53),),
    }


def test_what_did_not_change_is_not_told() -> None:
    known = Wanted()
    first = section(service(endpoint(2)), service(name="api", virtual="10.224.0.6"))
    assert len(known.take(first, {}).changes) == 2

    assert known.take(section(*first.services), {}).changes == {}
    changes = known.take(section(service(endpoint(2), endpoint(3)), first.services[1]), {}).changes
    assert {key: (before.seats, after.seats) for key, (before, after) in changes.items()} == {
        VIRTUAL: ((address(2),), (address(2), address(3)))
    }


def test_a_service_that_is_forgotten_takes_its_groups_along_and_another_may_have_its_address() -> None:
    known = Wanted()
    known.take(section(service(endpoint(2))), {})

    changes = known.take(section(service(endpoint(3), name="api")), {}).changes
    assert [group.seats for group in changes[VIRTUAL]] == [(address(2),), (address(3),)]
    changes = known.take(section(), {}).changes
    assert changes[VIRTUAL][1] is None
    assert known.groups == {}


def test_who_is_gone_is_told_apart_from_who_leaves() -> None:
    known = Wanted()
    known.take(section(service(endpoint(2), endpoint(3))), {})

    assert known.take(section(service(endpoint(2, ready=False), endpoint(3))), {}).gone == set()
    assert known.take(section(service(endpoint(3))), {}).gone == {address(2)}
    assert known.has(address(3))
    assert not known.has(address(2))


def test_an_endpoint_that_moves_to_another_service_is_not_gone() -> None:
    known = Wanted()
    known.take(section(service(endpoint(2))), {})

    moved = service(endpoint(2), name="api", virtual="10.224.0.6")
    assert known.take(section(service(), moved), {}).gone == set()


def test_seats_that_a_predecessor_gave_are_kept_and_who_is_missing_is_gone() -> None:
    known = Wanted()
    before = {VIRTUAL: Group((address(4), address(3), address(2)))}

    taken = known.take(section(service(endpoint(2), endpoint(4))), before)

    assert known.groups[VIRTUAL].seats == (address(4), address(2))
    assert taken.gone == {address(3)}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_flows_are_looked_for_where_udp_may_be(protocol: str) -> None:
    def has_udp(one: ServiceEndpoints) -> Iterator[bool]:
        return (group.has_udp for _, group in wanted.of_service(one))

    assert all(has_udp(service(endpoint(2))))
    port = PortSpec(target=80, published=80, mode="ingress", protocol=protocol)
    assert set(has_udp(service(endpoint(2), ports=(port,)))) == {protocol == "udp"}
