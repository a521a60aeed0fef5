"""Amounts as people write them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.model import quantity


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        (10, 10.0),
        ("2h", 7200.0),
        ("1.5s", 1.5),
        ("1d", 86400.0),
        ("7", 7.0),
    ],
)
def test_durations(text: Any, seconds: float) -> None:
    assert quantity.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["5x", "", "s", "-1s", "1s2", True, float("nan"), float("inf"), -1, "0.0001s", "9999999d"]
)
def test_what_is_no_duration_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|finer than 1ms"):
        quantity.parse_duration(text)


@given(st.integers(0, 10**11).map(lambda milliseconds: milliseconds / 1000))
def test_a_written_duration_is_read_back_exactly(seconds: float) -> None:
    assert quantity.parse_duration(quantity.format_duration(seconds)) == seconds


@given(st.integers(0, 10**7))
def test_a_written_amount_of_cpu_is_read_back_exactly(millis: int) -> None:
    assert quantity.parse_cpu(quantity.format_cpu(millis)) == millis
    assert quantity.parse_cpu(f"{millis / 1000:.3f}") == millis


@given(st.integers(0, 2**60))
def test_a_written_number_of_bytes_is_read_back_exactly(count: int) -> None:
    assert quantity.parse_bytes(quantity.format_bytes(count)) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [("64Mi", 2**26), ("128M", 128 * 10**6), ("1.5Gi", 3 * 2**29), (4096, 4096), ("1kb", 1000)],
)
def test_bytes_have_the_units_of_kubernetes_and_compose(text: Any, count: int) -> None:
    assert quantity.parse_bytes(text) == count


@pytest.mark.parametrize(
    ("amount", "up", "down"), [("25%", 3, 2), ("3", 3, 3), ("0%", 0, 0), ("100%", 10, 10), ("1%", 1, 0)]
)
def test_a_share_of_ten_is_rounded_as_asked(amount: str, up: int, down: int) -> None:
    assert quantity.amount_of(amount, 10, round_up=True) == up
    assert quantity.amount_of(amount, 10, round_up=False) == down
