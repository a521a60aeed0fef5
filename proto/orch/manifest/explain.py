"""`orchctl explain service.rollout.canary`: its documentation, from the definitions it is read by."""

import enum
import textwrap
from typing import Any

from pydantic import BaseModel

from orch.manifest import kinds, write
from orch.manifest.problem import did_you_mean
from orch.manifest.shape import Key, Shape, keys_of

_WIDTH = 90
_METADATA = {
    "name": "Lower case letters, digits and hyphens, at most 63.",
    "namespace": "Default: the namespace given with -n, or default.",
    "labels": "A map of strings, for -l and for your own order.",
}


class NothingKnown(LookupError):
    """There is no such kind or key; the message says what there is."""


def explain(path: str) -> str:
    """Text about a kind, or about one key: `service`, `svc.rollout.canary`, `service.spec.ports`."""
    word, *steps = path.split(".")
    kind = kinds.find(word)
    if kind is None:
        near = did_you_mean(word, kinds.KINDS) or f"there are {', '.join(kinds.KINDS)}"
        raise NothingKnown(f'there is no kind "{word}" — {near}')
    if steps[:1] == ["spec"]:
        steps = steps[1:]
    if not steps:
        return _kind_text(kind)
    if steps[0] == "metadata":
        return _metadata_text(kind)
    return _key_text(kind, _find(kind, steps), steps)


def paths(kind: kinds.Kind) -> list[str]:
    """Every path that can be explained; for completion."""
    found = [kind.name.lower()]
    for key in (kind.top | kind.spec).values():
        found += _paths_below(f"{kind.name.lower()}.{key.name}", key)
    return found


def _paths_below(path: str, key: Key) -> list[str]:
    return [
        path,
        *(each for name, child in _children(key).items() for each in _paths_below(f"{path}.{name}", child)),
    ]


def _find(kind: kinds.Kind, steps: list[str]) -> Key:
    known = kind.top | kind.spec
    at = kind.name.lower()
    for index, step in enumerate(steps):
        key = known.get(step)
        if key is None:
            near = did_you_mean(step, known) or (
                f"it has {', '.join(known)}" if known else "it has no keys of its own"
            )
            raise NothingKnown(f'{at} has no key "{step}" — {near}')
        if index == len(steps) - 1:
            return key
        at += f".{step}"
        known = _children(key)
    raise AssertionError("a path has at least one step")


def _children(key: Key) -> dict[str, Key]:
    model = _model(key.shape)
    return keys_of(model) if model else {}


def _model(shape: Shape) -> type[BaseModel] | None:
    return shape.model or (_model(shape.item) if shape.item else None)


def _kind_text(kind: kinds.Kind) -> str:
    lines = [
        f"KIND     {kind.name}    (short: {', '.join(kind.short)})",
        "VERSION  orch/v1",
        "",
        _wrapped(kind.doc),
        "",
    ]
    lines += ["METADATA", *_metadata_lines(kind)]
    for title, keys in (("KEYS", kind.top), ("SPEC", kind.spec)):
        if keys:
            lines += ["", title, *_key_lines(keys)]
    return "\n".join(lines) + "\n"


def _metadata_text(kind: kinds.Kind) -> str:
    return (
        "\n".join([f"KIND     {kind.name}", "KEY      metadata <object>", "", *_metadata_lines(kind)]) + "\n"
    )


def _metadata_lines(kind: kinds.Kind) -> list[str]:
    known = {name: doc for name, doc in _METADATA.items() if kind.has_namespace or name != "namespace"}
    return [f"  {name:<20} {doc}" for name, doc in known.items()]


def _key_text(kind: kinds.Kind, key: Key, steps: list[str]) -> str:
    lines = [f"KIND     {kind.name}", f"KEY      {'.'.join(steps)} <{key.shape.word}>", _value_line(key)]
    lines += ["", _wrapped(key.doc)] if key.doc else []
    model = _model(key.shape)
    if model and model.__doc__ and model.__doc__ != key.doc:
        lines += ["", _wrapped(" ".join(model.__doc__.split()))]
    if key.also:
        lines += ["", _wrapped(f"Also: {key.also}")]
    if model:
        lines += ["", "KEYS", *_key_lines(keys_of(model))]
    return "\n".join(line for line in lines if line is not None) + "\n"


def _value_line(key: Key) -> str:
    if key.is_required:
        return "         required"
    return f"DEFAULT  {default_text(key) or '(none)'}"


def default_text(key: Key) -> str:
    """The default as a user would write it; empty where there is nothing to write."""
    value: Any = key.default
    if value is None or value in ("", (), {}) or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, enum.Enum):
        return str(value.value)
    if value == 0 and key.shape.word == "bytes":
        return ""
    return str(write.amount_text(value, key.shape.word))


def _key_lines(keys: dict[str, Key]) -> list[str]:
    lines = []
    for key in keys.values():
        default = default_text(key)
        after = " required" if key.is_required else (f" = {default}" if default else "")
        lines.append(f"  {key.name:<20} <{key.shape.word}>{after}")
        lines += textwrap.wrap(key.doc, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
        if key.also:
            lines += textwrap.wrap(
                f"Also: {key.also}", _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
    return lines


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _WIDTH))
