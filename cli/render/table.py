"""Objects → rows: in which order, under which headings, and how they are laid out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cli.render.columns import COLUMNS, Cell


@dataclass(frozen=True, slots=True)
class Style:
    """What the user asked to see."""

    now: float
    is_wide: bool = False
    shows_namespace: bool = False
    shows_heading: bool = True
    attempts: bool = False
    """Tasks: finished attempts under the present one."""


def table(kind: str, views: Sequence[Any], style: Style) -> str:
    """The whole table, in lines."""
    cells = cells_of(kind, style)
    views = in_order(kind, views)
    rows = [[cell(view, style.now) for cell in cells.values()] for view in views]
    if kind == "task" and style.attempts:
        _indent_old_attempts(views, rows, list(cells).index("NAME"))
    return lay_out(([list(cells)] if style.shows_heading else []) + rows)


def cells_of(kind: str, style: Style) -> dict[str, Cell]:
    """Headings, and what stands under each."""
    columns = COLUMNS[kind]
    first = {"NAMESPACE": columns.namespace} if style.shows_namespace and columns.namespace else {}
    return first | columns.usual | (columns.wide if style.is_wide else {})


def in_order(kind: str, views: Iterable[Any]) -> list[Any]:
    """By name; tasks by slot, what lives before what has ended, the newest attempt first; events by time."""
    return sorted(views, key=_ORDER.get(kind, _by_name))


def lay_out(rows: Sequence[Sequence[str]], widths: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell (or as given); no trailing spaces."""
    if not rows:
        return ""
    widest = list(widths) or [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widest, strict=True)).rstrip() for row in rows
    )
    return "\n".join(lines) + "\n"


def _indent_old_attempts(views: Sequence[Any], rows: list[list[str]], name: int) -> None:
    """The newest attempt of a slot bears the slot's name, the older ones stand under it."""
    seen = set()
    for view, row in zip(views, rows, strict=True):
        identity = view.task.id
        slot = (identity.namespace, identity.service, identity.slot)
        if slot in seen:
            row[name] = rf" \_ {identity.service}.{identity.slot}.{identity.attempt}"
        seen.add(slot)


def _by_name(view: Any) -> tuple[str, ...]:
    name = view.name
    return (name.namespace, name.name) if hasattr(name, "namespace") else (str(name),)


def _by_slot(view: Any) -> tuple[Any, ...]:
    task = view.task.id
    return (task.namespace, task.service, task.slot, -task.birth, view.state in _ENDED, -task.attempt)


_ENDED = {8, 9, 10}
"""Complete, failed, rejected: these stand under what still lives, also where they are newer (a rollback)."""


_ORDER: dict[str, Callable[[Any], Any]] = {
    "service": lambda view: (view.service.name.namespace, view.service.name.name),
    "task": _by_slot,
    "node": lambda view: view.spec.name,
    "event": lambda event: (event.last_at, event.id),
    "endpoints": lambda view: (view.endpoints.service.namespace, view.endpoints.service.name),
    "revision": lambda view: (
        view.revision.service.namespace,
        view.revision.service.name,
        view.revision.number,
    ),
}
