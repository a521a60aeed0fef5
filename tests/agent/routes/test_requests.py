"""Lines of the proxy's log, counted."""

import pytest

from agent.routes.requests import Tally
from orch.model.names import ServiceName
from orch.model.traffic import RevisionTraffic, bounds, bucket, quantile

WEB = ServiceName("default", "web")


def told(*parts: bytes) -> list[RevisionTraffic]:
    tally = Tally()
    for part in parts:
        tally.take(part)
    return tally.drain()


def test_requests_are_counted_by_service_and_revision() -> None:
    found = told(
        b"R web.default:http r1.7-1-1 200 3 -\nR web.default:http r2.7-2-1 404 5 -\n"
        b"R web.default:http r2.7-3-1 500 7 -\nR web.default:http <NOSRV> 503 0 -\n"
    )

    assert found == [
        RevisionTraffic(WEB, 1, 1, 0, 0, {3: 1}),
        RevisionTraffic(WEB, 2, 2, 1, 1, {5: 1, 7: 1}),
        RevisionTraffic(WEB, 0, 1, 0, 1, {0: 1}),
    ]


def test_a_line_that_stands_for_several_counts_as_so_many() -> None:
    assert told(b"R web.default:http r1.1 200 3 8\n") == [RevisionTraffic(WEB, 1, 8, latency={3: 8})]


def test_a_line_may_come_in_pieces_and_what_is_no_request_is_passed_over() -> None:
    found = told(
        b"Server web.default:http/r1.1 is UP/READY (leaving forced maintenance).\n"
        b"R orch-none <NOSRV> 404 0 -\nR web.defa",
        b"ult:http r1.1 200 1 -\nR web.default:http r1.1 200",
        b" 1 -\n",
    )

    assert found == [RevisionTraffic(WEB, 1, 2, latency={1: 2})]


def test_what_was_given_up_or_never_ends_has_no_time() -> None:
    found = told(b"R web.default:http r1.1 -1 9000 -\nR web.default:http r1.1 101 3600000 -\n")

    assert found == [RevisionTraffic(WEB, 1, 2)]


def test_a_drain_begins_anew() -> None:
    tally = Tally()
    tally.take(b"R web.default:http r1.1 200 1 -\n")
    tally.drain()
    tally.take(b"R web.default:http r1.1 200 1 -\n")

    assert [each.requests for each in tally.drain()] == [1]


@pytest.mark.parametrize("milliseconds", [*range(70), 100, 999, 1000, 12345, 599_999])
def test_a_time_is_counted_where_its_bounds_are_and_these_are_close(milliseconds: int) -> None:
    low, high = bounds(bucket(milliseconds))

    assert low <= milliseconds < high
    assert high - low <= max(1, low / 8)


def test_a_percentile_is_read_from_the_counts() -> None:
    latency = {bucket(10): 95, bucket(1000): 5}

    assert quantile(latency, 0.5) == pytest.approx(10.5, abs=0.6)
    assert quantile(latency, 0.99) == pytest.approx(1000, rel=0.15)
    assert quantile({}, 0.5) == 0.0
    assert bucket(10**9) == bucket(600_000)
