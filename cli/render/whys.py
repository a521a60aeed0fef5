"""The answer of `orchctl why`: a sentence, the funnel of filters or the table of scores, what led there."""

from collections.abc import Collection, Iterator
from typing import Any

from cli.render import table

_MOST_NODES = 8
"""Named after each reason; more are counted."""
_LAST = ("tasks", "allocated")
"""Weighed in this order, after what the service spreads over."""
_HEADINGS = {"tasks": "TASKS OF IT", "allocated": "ALLOCATED"}


def answer(reply: Any, now: float) -> str:
    """A WhyReply → text."""
    parts = [reply.summary + "\n"]
    if reply.scores:
        parts.append(_scores(reply.scores))
    if reply.funnel:
        rows = [["FILTER", "NODES LEFT", "REFUSED"], *_funnel(reply.funnel)]
        parts.append(table.lay_out(rows))
    if reply.suggestions:
        parts.append("".join(f"it would fit: {each}\n" for each in reply.suggestions))
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
    """How the winner won, and how the nodes compare now; the control plane's order is best first."""
    won = [row for row in rows if row.won]
    now = [row for row in rows if not row.won]
    parts = []
    if won:
        parts += [
            f"{row.node} won; {_taken_by(row)}. The smaller the better:\n{_score_table([row])}" for row in won
        ]
    if now:
        here = {row.node for row in won}
        parts.append("As things are now, without it:\n" + _score_table(now, here))
    return "\n".join(parts)


def _taken_by(row: Any) -> str:
    nodes = int(row.scores.get("of", 0))
    return "no other node would have taken it" if nodes <= 1 else f"{nodes} nodes would have taken it"


def _score_table(rows: Any, here: Collection[str] = ()) -> str:
    found = dict.fromkeys(name for row in rows for name in row.scores if name != "of")
    names = sorted(found, key=lambda name: (_LAST.index(name) if name in _LAST else -1, name))
    cells = [
        [
            row.node,
            *(f"{row.scores.get(name, 0):.3g}" for name in names),
            "is here" if row.node in here else "",
        ]
        for row in rows
    ]
    return table.lay_out([["NODE", *(_HEADINGS.get(name, name.upper()) for name in names), ""], *cells])
