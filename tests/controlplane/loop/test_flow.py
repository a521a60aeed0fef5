"""Requests that nodes tell of, as windows."""

import pytest

from controlplane.loop.flow import COARSE_FOR_SECONDS, Flow
from orch.model.names import ServiceName
from orch.model.traffic import RevisionTraffic, bucket

WEB = ServiceName("default", "web")
BEGIN = 1000.0


def said(requests: int = 10, errors: int = 0, revision: int = 1, milliseconds: int = 5) -> RevisionTraffic:
    return RevisionTraffic(
        WEB, revision, requests, server_errors=errors, latency={bucket(milliseconds): requests}
    )


@pytest.fixture
def flow() -> Flow:
    return Flow(BEGIN)


def test_a_window_adds_what_all_nodes_told_in_it(flow: Flow) -> None:
    flow.take([said(100, errors=1)], 0, BEGIN + 100)
    flow.take([said(300, errors=3, milliseconds=40)], 2, BEGIN + 130)

    window = flow.window(WEB, 1, BEGIN + 140, 60)

    assert (window.requests, window.seconds) == (400, 60)
    assert window.error_ratio == pytest.approx(0.01)
    assert window.per_second == pytest.approx(400 / 60)
    assert window.within_ms(0.95) == pytest.approx(40, rel=0.15)
    assert flow.unmeasured == 2


def test_what_is_older_than_the_window_is_not_in_it(flow: Flow) -> None:
    flow.take([said(100)], 0, BEGIN + 100)
    flow.take([said(1)], 0, BEGIN + 200)

    assert flow.window(WEB, 1, BEGIN + 205, 60).requests == 1


def test_a_leader_that_has_just_begun_has_short_windows(flow: Flow) -> None:
    flow.take([said(100)], 0, BEGIN + 9)

    assert flow.window(WEB, 1, BEGIN + 10, 3600).seconds == 10


def test_hours_are_kept_by_the_minute_and_then_forgotten(flow: Flow) -> None:
    for minute in range(120):
        flow.take([said(60)], 0, BEGIN + 60 * minute)
    now = BEGIN + 120 * 60

    assert flow.window(WEB, 1, now, 7200).requests == 120 * 60
    assert flow.window(WEB, 1, now, 3600).requests == pytest.approx(3600, rel=0.05)
    assert flow.window(WEB, 1, now + COARSE_FOR_SECONDS, COARSE_FOR_SECONDS * 2).requests < 120 * 60


def test_only_revisions_that_something_came_to_are_named(flow: Flow) -> None:
    flow.take([said(1, revision=1)], 0, BEGIN)
    flow.take([said(2, revision=2), said(3, revision=0)], 0, BEGIN + 300)

    assert [each[0] for each in flow.windows(WEB, BEGIN + 301, 60)] == [0, 2]
    assert flow.windows(ServiceName("default", "other"), BEGIN, 60) == []
