"""What an apply changed, or would change."""

from collections.abc import Iterable, Iterator
from typing import Any

from cli.render import words


def applied(reply: Any) -> str:
    """One line an object, its changes under it."""
    return "".join(f"{line}\n" for line in _lines(reply.objects, shows_same=True))


def planned(reply: Any) -> str:
    """As `applied`, in the future, with what the deciders would do."""
    lines = [*_lines(reply.objects, shows_same=False, future=_WOULD)]
    return "".join(f"{line}\n" for line in lines) or "no changes\n"


def has_changes(reply: Any) -> bool:
    """Whether anything differs from what is there."""
    return any(each.action != "unchanged" for each in reply.objects)


_WOULD = {"created": "would be created", "changed": "would change", "deleted": "would be deleted"}


def _lines(
    objects: Iterable[Any], *, shows_same: bool, future: dict[str, str] | None = None
) -> Iterator[str]:
    for each in objects:
        if each.action == "unchanged" and not shows_same:
            continue
        yield f"{reference(each.reference)} {(future or {}).get(each.action, each.action)}"
        if each.action == "changed" or future:
            yield from (f"  {_change(change)}" for change in each.changes)
        yield from (f"  {decision}" for decision in each.decisions)


def reference(reference: Any) -> str:
    """`service/web`, with the namespace where it is another than default."""
    where = f" (in {reference.namespace})" if reference.namespace not in ("", "default") else ""
    return f"{reference.kind.removesuffix('s')}/{reference.name}{where}"


def _change(change: Any) -> str:
    path = change.path.replace("spec.template.", "spec.")
    before, after = words.images(change.before), words.images(change.after)
    if not before:
        return f"+ {path}: {after}"
    if not after:
        return f"- {path}: {before}"
    return f"~ {path}: {before} → {after}"
