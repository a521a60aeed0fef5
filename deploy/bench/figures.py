"""Figures of a benchmark: a table for people and a file for programs."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing. `goal` is a bound: at most for times and memory, at least for rates; 0 is none."""

    name: str
    unit: str
    goal: float
    samples: tuple[float, ...]
    more_is_better: bool = False

    @property
    def value(self) -> float:
        """The median of the samples."""
        return statistics.median(self.samples)

    @property
    def meets_goal(self) -> bool:
        if not self.goal:
            return True
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal


def percentile(samples: Sequence[float], percent: int) -> float:
    """The smallest sample that so many percent of them do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """Of samples that were taken in turns."""
    return tuple(own / other for own, other in zip(ours, theirs, strict=True))


def show(figures: list[Figure]) -> str:
    """The table."""
    width = max(len(figure.name) for figure in figures)
    lines = [f"{'FIGURE':<{width}}  {'MEDIAN':>10}  {'MIN':>10}  {'MAX':>10}  {'N':>3}  GOAL"]
    for figure in figures:
        bound = "≥" if figure.more_is_better else "≤"
        low, high = min(figure.samples), max(figure.samples)
        verdict = "" if figure.meets_goal else "  missed"
        lines.append(
            f"{figure.name:<{width}}  {_number(figure.value):>10}  {_number(low):>10}  {_number(high):>10}  "
            f"{len(figure.samples):>3}  {f'{bound} {_number(figure.goal)} ' if figure.goal else ''}{figure.unit}"
            f"{verdict}"
        )
    return "\n".join(lines)


def save(figures: list[Figure], path: Path) -> None:
    """An array of `{name, value, unit, goal, min, max, n}`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "name": figure.name,
            "value": figure.value,
            "unit": figure.unit,
            "goal": figure.goal,
            "min": min(figure.samples),
            "max": max(figure.samples),
            "n": len(figure.samples),
        }
        for figure in figures
    ]
    path.write_text(json.dumps(rows, indent=2) + "\n")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
