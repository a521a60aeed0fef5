"""What changed between two specs, field by field, in the words of the manifest. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orch.model.spec import Spec
from orch.v1 import control_pb2 as pb

LONGEST_VALUE = 200


def changes(before: Spec | None, after: Spec, path: str = "spec") -> list[pb.FieldChange]:
    """Fields that differ; containers are told apart by name, other list items by position."""
    old = _plain(before) if before is not None else {}
    return [
        pb.FieldChange(path=where, before=_text(one), after=_text(other))
        for where, one, other in _compare(path, old, _plain(after))
    ]


def summary(found: Sequence[pb.FieldChange]) -> str:
    """In a few words, for the history: `image web:1 → web:2, 2 more`."""
    if not found:
        return ""
    ranked = sorted(found, key=lambda each: not each.path.endswith(".image"))
    first = ranked[0]
    words = f"{first.path.rsplit('.', 1)[-1]} {first.before or 'none'} → {first.after or 'none'}"
    return words if len(found) == 1 else f"{words}, {len(found) - 1} more"


def _plain(spec: Spec) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _compare(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            yield from _compare(f"{path}.{key}", before.get(key), after.get(key))
    elif _is_list_of_mappings(before) and _is_list_of_mappings(after):
        old, new = _by_name(before), _by_name(after)
        for key in dict.fromkeys((*old, *new)):
            yield from _compare(f"{path}[{key}]", old.get(key), new.get(key))
    else:
        yield path, before, after


def _is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _by_name(items: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {_name(each, position): each for position, each in enumerate(items)}


def _name(item: Mapping[str, Any], position: int) -> str:
    """Defaults are left out, and a container's name is `main` by default."""
    return str(item.get("name") or item.get("source") or ("main" if "image" in item else position))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        text = "[" + ", ".join(map(_text, value)) + "]"
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
