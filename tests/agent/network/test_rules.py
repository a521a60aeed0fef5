import pytest

from agent.network import rules
from agent.network.rules import Door, Target

WEB, API = Target("10.208.4.2", 80), Target("10.208.4.3", 8000)


def test_only_what_differs_is_changed() -> None:
    present = {Door("", "tcp", 80): WEB, Door("", "udp", 53): WEB, Door("192.0.2.1", "tcp", 81): WEB}
    wanted = {Door("", "tcp", 80): WEB, Door("", "udp", 53): API, Door("", "tcp", 82): API}

    assert rules.change(wanted, present).splitlines() == [
        "delete element ip orch published_any { udp . 53 }",
        "delete element ip orch published_at { 192.0.2.1 . tcp . 81 }",
        "add element ip orch published_any { tcp . 82 : 10.208.4.3 . 8000 }",
        "add element ip orch published_any { udp . 53 : 10.208.4.3 . 8000 }",
    ]
    assert rules.change(wanted, wanted) == ""


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
