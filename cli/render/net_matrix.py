"""What every node found of every other, as a table (pure)."""

from collections.abc import Iterator, Mapping
from typing import Any


def matrix(reply: Any) -> str:
    """A row a node: how it reaches each other one; then names, virtual addresses and published ports."""
    found = {(getattr(each, "from"), each.to, each.what): each for each in reply.results}
    present = {place.node for place in reply.places}
    heading = ["FROM", *(f"→ {name}" for name in reply.nodes), "DNS", "VIRTUAL", "PUBLISHED"]
    rows = [heading]
    for node in reply.nodes:
        if node not in present:
            rows.append([node, *("?" for _ in heading[1:])])
            continue
        cells = [_pair(found, node, other, present) for other in reply.nodes]
        rows.append([node, *cells, *_own(reply.results, node)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(heading))]
    lines = [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    said = "all is well" if not reply.problems else f"{len(reply.problems)} problem(s)"
    return "\n".join((*lines, "", said, ""))


def _pair(found: Mapping[tuple[str, str, str], Any], node: str, other: str, present: set[str]) -> str:
    if node == other:
        return "·"
    if other not in present:
        return "?"
    nodes, inside, size, tcp = (
        found.get((node, other, what)) for what in ("nodes", "containers", "size", "tcp")
    )
    if inside is None or not inside.received:
        return "no answer" if nodes is None or not nodes.received else "containers: no answer"
    lost = 100 * (inside.sent - inside.received) // inside.sent
    words = [f"{inside.median * 1000:.1f} ms"]
    if lost:
        words.append(f"{lost} % lost")
    if size is not None:
        words.append(f"{size.bytes} B" + (" only" if size.error else ""))
    if tcp is not None and tcp.error:
        words.append("TCP fails")
    return ", ".join(words)


def _own(results: Any, node: str) -> Iterator[str]:
    mine = [each for each in results if getattr(each, "from") == node]
    names = [each for each in mine if each.what in {"dns", "outside"}]
    bad = [each.what for each in names if each.error]
    yield "ok" if not bad else "fails" if "dns" in bad else "cluster only"
    for what in ("virtual", "published"):
        tried = [each for each in mine if each.what == what]
        good = sum(not each.error for each in tried)
        yield "-" if not tried else "ok" if good == len(tried) else f"{good} of {len(tried)}"
