"""Messages `Usage` → the rows of `orchctl top` (pure)."""

from collections.abc import Sequence
from typing import Any

from cli.render import table, words
from cli.render.words import NOTHING

SORTED_BY = {
    "name": lambda usage: (usage.namespace, usage.name, usage.container),
    "cpu": lambda usage: -usage.cpu,
    "memory": lambda usage: -usage.working_set,
    "io": lambda usage: -(usage.read_rate + usage.write_rate),
}


def rows(
    kind: str, usages: Sequence[Any], *, by: str, with_containers: bool, with_namespace: bool, heading: bool
) -> str:
    """The table. A task's own row comes before those of its containers."""
    chosen = sorted((each for each in usages if not each.container), key=SORTED_BY[by])
    lines = [_heading(kind, with_namespace=with_namespace)] if heading else []
    for usage in chosen:
        lines.append(_row(kind, usage, usage.name, with_namespace=with_namespace))
        if with_containers:
            parts = [each for each in usages if each.container and _same(each, usage)]
            lines += [
                _row(kind, each, f"  {each.container}", with_namespace=with_namespace)
                for each in sorted(parts, key=SORTED_BY[by])
            ]
    return table.lay_out(lines)


def _same(part: Any, whole: Any) -> bool:
    return (part.namespace, part.name, part.node) == (whole.namespace, whole.name, whole.node)


def _heading(kind: str, *, with_namespace: bool) -> list[str]:
    first = ["NAME"] if kind == "nodes" else [*(["NAMESPACE"] if with_namespace else []), "NAME", "NODE"]
    return [*first, "CPU", "CPU%", "MEMORY", "MEM%", "PIDS", "READ/S", "WRITE/S", "WAITS(CPU/MEM/IO)"]


def _row(kind: str, usage: Any, name: str, *, with_namespace: bool) -> list[str]:
    first = [name] if kind == "nodes" else [*([usage.namespace] if with_namespace else []), name, usage.node]
    return [
        *first,
        f"{usage.cpu * 1000:.0f}m",
        words.share(usage.cpu * 1000, usage.cpu_limit),
        words.size(usage.working_set),
        words.share(usage.working_set, usage.memory_limit),
        str(usage.pids),
        words.size(round(usage.read_rate)),
        words.size(round(usage.write_rate)),
        _waits(usage),
    ]


def _waits(usage: Any) -> str:
    """How much of the last 10 s something waited; nothing where the kernel does not measure it."""
    amounts = (usage.cpu_pressure, usage.memory_pressure, usage.io_pressure)
    if all(each < 0 for each in amounts):
        return NOTHING
    return "/".join(NOTHING if each < 0 else f"{each:.0f}%" for each in amounts)
