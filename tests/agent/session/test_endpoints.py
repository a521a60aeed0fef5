"""Endpoints come whole or as a difference."""

import pytest

from agent.session.endpoints import NotTheBase, Whole
from orch import wire
from orch.model.assignment import EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ObjectName


def service(name: str, *addresses: str) -> ServiceEndpoints:
    return ServiceEndpoints(ObjectName("default", name), virtual_addresses=addresses)


A, B, C = service("a"), service("b"), service("c")
STAMP = Stamp("c", 1, 1, 1)


def take(whole: Whole, section: EndpointSection) -> EndpointSection:
    return whole.take(wire.to_wire(section))


def test_a_difference_becomes_whole() -> None:
    whole = Whole()
    take(whole, EndpointSection(STAMP, 5, (A, B)))
    moved = service("b", "10.224.0.1")

    found = take(whole, EndpointSection(STAMP, 7, (moved, C), base=5, gone=(A.service,)))

    assert found == EndpointSection(STAMP, 7, (moved, C))


def test_what_has_not_changed_is_the_very_same_value() -> None:
    whole = Whole()
    first = take(whole, EndpointSection(STAMP, 5, (A, B)))
    second = take(whole, EndpointSection(STAMP, 6, (C,), base=5))
    third = take(whole, EndpointSection(STAMP, 7, (A, B)))

    assert second.services[0] is first.services[0]
    assert third.services[1] is first.services[1]
    assert third == EndpointSection(STAMP, 7, (A, B))


@pytest.mark.parametrize("base", [4, 6])
def test_the_difference_to_another_version_is_refused_and_changes_nothing(base: int) -> None:
    whole = Whole()
    take(whole, EndpointSection(STAMP, 5, (A,)))

    with pytest.raises(NotTheBase):
        take(whole, EndpointSection(STAMP, 7, (B,), base=base))

    assert take(whole, EndpointSection(STAMP, 8, (C,), base=5)).services == (A, C)
