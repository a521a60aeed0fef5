"""Names wait once, come when due, and back off after failures."""

from controlplane.loop import queue
from orch.model.names import ServiceName

WEB, API = ServiceName("default", "web"), ServiceName("default", "api")


def test_a_name_added_twice_is_taken_once() -> None:
    names = queue.Queue()
    names.add(WEB)
    names.add(API)
    names.add(WEB)
    assert names.take(0.0, 10) == [WEB, API]
    assert names.take(0.0, 10) == []


def test_no_more_are_taken_than_asked_for() -> None:
    names = queue.Queue()
    names.add(WEB)
    names.add(API)
    assert names.take(0.0, 1) == [WEB]
    assert names.take(0.0, 1) == [API]


def test_a_name_comes_when_it_is_due_and_not_before() -> None:
    names = queue.Queue()
    names.add_at(WEB, 5.0)
    assert names.take(4.9, 10) == []
    assert names.next_due() == 5.0
    assert names.take(5.0, 10) == [WEB]
    assert names.next_due() is None


def test_of_two_instants_the_earlier_counts() -> None:
    names = queue.Queue()
    names.add_at(WEB, 5.0)
    names.add_at(WEB, 3.0)
    names.add_at(WEB, 9.0)
    assert names.next_due() == 3.0
    assert names.take(3.0, 10) == [WEB]
    assert names.take(9.0, 10) == []


def test_each_failure_in_a_row_waits_longer_and_a_success_forgets_them() -> None:
    names = queue.Queue()
    pauses = []
    for _ in range(3):
        names.failed([WEB], now=0.0)
        due = names.next_due()
        assert due is not None
        pauses.append(due)
        names.take(due, 10)
    assert pauses == sorted(set(pauses))
    names.succeeded(WEB)
    names.failed([WEB], now=0.0)
    assert names.next_due() == pauses[0]
