from dataclasses import replace

import pytest

from agent.network import rules
from agent.network.rules import Door, Target

WEB, API = Target("10.208.4.2", 80), Target("10.208.4.3", 8000)


def test_a_door_is_an_element_of_the_map_of_its_kind() -> None:
    doors = {Door("", "tcp", 80): WEB, Door("192.0.2.1", "udp", 53): API}

    assert dict(rules.elements(doors)) == {
        ("published_any", bytes((6, 0, 0, 0, 0, 80, 0, 0))): bytes((10, 208, 4, 2, 0, 80, 0, 0)),
        ("published_at", bytes((192, 0, 2, 1, 17, 0, 0, 0, 0, 53, 0, 0))): bytes(
            (10, 208, 4, 3, 31, 64, 0, 0)
        ),
    }


def test_rules_of_another_place_are_another_version() -> None:
    place = rules.Place("orch0", "10.208.0.0/12", "10.224.0.0/16", ("10.208.4.0/22",), "10.208.4.1")

    assert rules.mark(place) == rules.mark(place)
    assert rules.mark(place) != rules.mark(replace(place, service_range="10.225.0.0/16"))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (Door("", "tcp", 80), Door("", "tcp", 80), True),
        (Door("", "tcp", 80), Door("192.0.2.1", "tcp", 80), True),
        (Door("127.0.0.1", "tcp", 80), Door("192.0.2.1", "tcp", 80), False),
        (Door("", "tcp", 80), Door("", "udp", 80), False),
        (Door("", "tcp", 80), Door("", "tcp", 81), False),
    ],
)
def test_doors_meet_where_they_take_the_same_packets(one: Door, other: Door, meet: bool) -> None:
    assert (rules.overlapping(one, [other]) is not None) is meet
    assert (rules.overlapping(other, [one]) is not None) is meet
