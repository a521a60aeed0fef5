"""Health from answers, and when to ask."""

import pytest

from agent.probes.verdict import Rhythm, Streak, judge
from orch.model.probe import Health, ProbeSpec

PROBE = ProbeSpec(exec=("true",), success_threshold=2, failure_threshold=3)


@pytest.mark.parametrize(
    ("before", "streak", "expected"),
    [
        (Health.UNKNOWN, Streak(True, 1), Health.UNKNOWN),
        (Health.UNKNOWN, Streak(True, 2), Health.HEALTHY),
        (Health.HEALTHY, Streak(False, 2), Health.HEALTHY),
        (Health.HEALTHY, Streak(False, 3), Health.UNHEALTHY),
        (Health.UNHEALTHY, Streak(True, 1), Health.UNHEALTHY),
        (Health.UNHEALTHY, Streak(True, 2), Health.HEALTHY),
    ],
)
def test_health_changes_only_after_a_streak(before: Health, streak: Streak, expected: Health) -> None:
    assert judge(before, streak, PROBE) is expected


def test_a_streak_begins_anew_with_another_answer() -> None:
    assert Streak(False, 2).and_then(True) == Streak(True, 1)
    assert Streak(True, 1).and_then(True) == Streak(True, 2)


def asked_at(answers: list[bool], period: float, *, eager: bool = True) -> tuple[list[float], list[bool]]:
    """When checks are made, and which of them count towards failure."""
    rhythm, at, times, counted = Rhythm(eager=eager), 0.0, [], []
    for passing in answers:
        times.append(round(at, 3))
        counted.append(rhythm.counts(at))
        rhythm, at = rhythm.after(at, passing, period)
    return times, counted


def test_until_the_first_pass_checks_come_quickly_and_count_only_once_a_period() -> None:
    times, counted = asked_at([False] * 8, period=1.0)

    assert times == [0.0, 0.05, 0.15, 0.35, 0.75, 1.0, 2.0, 3.0]
    assert counted == [True, False, False, False, False, True, True, True]


def test_after_a_pass_checks_come_once_a_period() -> None:
    times, _ = asked_at([False, True, True, False, True], period=1.0)

    assert times == [0.0, 0.05, 1.0, 2.0, 3.0]


def test_liveness_is_never_eager() -> None:
    times, counted = asked_at([False, False, False], period=1.0, eager=False)

    assert times == [0.0, 1.0, 2.0]
    assert all(counted)
