"""The part of kubectl's jsonpath that people type: `{.items[*].metadata.name}`, `{.status.ready}`."""

import json
import re
from typing import Any

_STEP = re.compile(
    r"""\.(?P<key>[A-Za-z0-9_-]+)|\[(?P<index>-?\d+|\*)\]|\[['"](?P<quoted>[^'"]+)['"]\]|\.(?P<all>\*)"""
)


class BadPath(ValueError):
    """Not a path that is understood here."""


def evaluate(template: str, document: Any) -> str:
    """Text with {paths} in it → text. Raises BadPath."""
    if "{" not in template:
        template = "{" + template + "}"
    return re.sub(r"\{([^{}]*)\}", lambda match: _show(find(match[1], document)), template)


def find(path: str, document: Any) -> list[Any]:
    """Everything that a path leads to; nothing where it leads nowhere. Raises BadPath."""
    if path.startswith(('"', "'")):
        return [path[1:-1].encode().decode("unicode_escape")]
    path = path.strip().removeprefix("$").removeprefix("@")
    path = path if path.startswith((".", "[")) or not path else f".{path}"
    found, at = [document], 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise BadPath(f"cannot read {path!r} at {path[at:]!r}; for example {{.items[*].metadata.name}}")
        found = [each for one in found for each in _step(one, step)]
        at = step.end()
    return found


def _step(value: Any, step: re.Match[str]) -> list[Any]:
    key = step["key"] or step["quoted"]
    if key is not None:
        return [value[key]] if isinstance(value, dict) and key in value else []
    if step["all"] or step["index"] == "*":
        return (
            list(value.values())
            if isinstance(value, dict)
            else list(value)
            if isinstance(value, list)
            else []
        )
    index = int(step["index"])
    return [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []


def _show(found: list[Any]) -> str:
    return " ".join(each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in found)
