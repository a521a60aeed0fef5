"""The answer of `orchctl why`: a sentence, the funnel of filters or the table of scores, what led there."""

from collections.abc import Iterator
from typing import Any

from cli.render import table

_MOST_NODES = 8
"""Named after each reason; more are counted."""


def answer(reply: Any, now: float) -> str:
    """A WhyReply → text."""
    parts = [reply.summary + "\n"]
    if reply.funnel:
        rows = [["FILTER", "NODES LEFT", "REFUSED"], *_funnel(reply.funnel)]
        parts.append(table.lay_out(rows))
    if reply.suggestions:
        parts.append("".join(f"it would fit: {each}\n" for each in reply.suggestions))
    if reply.scores:
        parts.append(_scores(reply.scores))
    if reply.events:
        events = list(reply.events)[::-1]
        parts.append(table.table("event", events, table.Style(now)))
    return "\n".join(parts)


def _funnel(steps: Any) -> Iterator[list[str]]:
    for step in steps:
        by_reason: dict[str, list[str]] = {}
        for node, why in sorted(step.refused.items()):
            by_reason.setdefault(why, []).append(node)
        reasons = [f"{_some(nodes)}: {why}" for why, nodes in by_reason.items()]
        yield [step.filter, str(step.left), reasons[0] if reasons else ""]
        yield from (["", "", reason] for reason in reasons[1:])


def _some(nodes: list[str]) -> str:
    shown = ", ".join(nodes[:_MOST_NODES])
    more = len(nodes) - _MOST_NODES
    return f"{shown} and {more} more" if more > 0 else shown


def _scores(rows: Any) -> str:
    names = list(dict.fromkeys(name for row in rows for name in sorted(row.scores)))
    ordered = sorted(rows, key=lambda row: (-row.total, not row.won, row.node))
    cells = [
        [
            row.node,
            *(f"{row.scores.get(name, 0):.2f}" for name in names),
            f"{row.total:.2f}",
            "won" if row.won else "",
        ]
        for row in ordered
    ]
    return table.lay_out([["NODE", *(name.upper() for name in names), "TOTAL", ""], *cells])
