"""Turns a run of probe results into health (pure).

Asked after every check; knows nothing of how a check is made.
"""

from dataclasses import dataclass

from orch.model.probe import Health, ProbeSpec

FIRST_RETRY_SECONDS = 0.05
"""Until the first pass a check is repeated soon: a service that came up does not wait a whole period."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one check brought."""

    passing: bool
    words: str
    """`GET :8080/healthz answered 503`."""


@dataclass(frozen=True, slots=True)
class Streak:
    """Equal answers in a row."""

    passing: bool = False
    length: int = 0

    def and_then(self, passing: bool) -> "Streak":
        """One more."""
        return Streak(passing, self.length + 1 if passing == self.passing else 1)


def judge(health: Health, streak: Streak, probe: ProbeSpec) -> Health:
    """Health changes only when a streak is long enough; until then it stays what it was."""
    if streak.passing and streak.length >= probe.success_threshold:
        return Health.HEALTHY
    if not streak.passing and streak.length >= probe.failure_threshold:
        return Health.UNHEALTHY
    return health


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When the next check is due; times in seconds from the first one."""

    due: float = 0.0
    """The next regular check: only these count towards failure."""
    retry: float = FIRST_RETRY_SECONDS
    """Pause before the next check in between."""
    eager: bool = True
    """Still without a pass: check in between."""

    def counts(self, elapsed: float) -> bool:
        """Whether a check at this time is a regular one. A pass always counts."""
        return elapsed >= self.due

    def after(self, elapsed: float, passing: bool, period: float) -> tuple["Rhythm", float]:
        """The rhythm after a check made at `elapsed`, and when the next is: 50, 100, 200 ms … while eager."""
        due = self.due
        while due <= elapsed:
            due += period
        if passing or not self.eager:
            return Rhythm(due, self.retry, eager=False), due
        soon = elapsed + self.retry
        return Rhythm(due, self.retry * 2, eager=True), min(soon, due)
