"""Which keys a manifest may hold, what each may be, and what it is for.

Read from the model's own definitions: the reader, `explain` and the JSON Schema all ask here. Added is
only how users write differently from how the model keeps (the flat container, `nodes: {matchLabels: …}`).
"""

import enum
import functools
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticUndefined

from orch.model import container, policy, probe, quantity, service

Model = type[BaseModel]


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand at a key."""

    form: Literal["text", "word", "value", "list", "map", "object"]
    """word: one of `choices`; value: not text, pydantic reads it; map: of text to text."""
    word: str
    """For people: `duration`, `list of strings`."""
    model: Model | None = None
    item: "Shape | None" = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """One key of one object."""

    name: str
    owner: Model
    shape: Shape
    doc: str
    is_required: bool
    default: Any
    also: str = ""
    """Other ways to write it."""


UNSUPPORTED: dict[Model, frozenset[str]] = {
    service.ServiceSpec: frozenset({"dependsOn"}),
    policy.PlacementSpec: frozenset({"affinity"}),
    policy.CanaryPolicy: frozenset({"analysis"}),
    probe.ProbeSpec: frozenset({"grpc"}),
}
"""Keys that the design has and that this version cannot do yet."""

_NOT_WRITTEN = {
    (container.FileMount, "version"),
    (policy.OnNodeLoss, "action"),
    (policy.CanaryStep, "matchLabels"),
}
"""Fields that users do not write as keys."""

_ALSO: dict[tuple[Model, str], str] = {
    (container.ContainerSpec, "entrypoint"): "a string, split into words as a shell does, nothing expanded",
    (container.ContainerSpec, "command"): "a string, split into words as a shell does, nothing expanded",
    (probe.ProbeSpec, "exec"): "a string, split into words as a shell does, nothing expanded",
    (container.ContainerSpec, "environment"): "a list of KEY=VALUE",
    (container.ContainerSpec, "configs"): "just the name of the Config",
    (container.ContainerSpec, "secrets"): "just the name of the Secret",
    (container.ContainerSpec, "volumes"): '"/srv/www:/www" or "/srv/www:/www:ro"',
    (container.FileMount, "mode"): 'octal digits: 0444, "0444" or 0o444',
    (service.TaskTemplate, "extraHosts"): 'a list of NAME:ADDRESS: ["db:10.0.0.5"]',
    (service.TaskTemplate, "ports"): '"30080:8080", "10.0.0.5:80:8080/tcp" or just 8080',
    (service.TaskTemplate, "onNodeLoss"): "the word replace or wait",
    (policy.PlacementSpec, "tolerations"): '"gpu" or "gpu=yes"',
    (policy.CanaryStep, "nodes"): "{matchLabels: {ring: canary}}: the nodes with these labels",
}


@functools.cache
def keys_of(model: Model) -> dict[str, Key]:
    """The keys of one object, in the order of its definition."""
    hints = typing.get_type_hints(model, include_extras=True)
    keys = (_key(model, name, hints[name]) for name in model.model_fields)
    return {key.name: key for key in keys if (model, key.name) not in _NOT_WRITTEN}


@functools.cache
def service_keys() -> dict[str, Key]:
    """The body of a Service: its own keys, its template's and its only container's, all on one level."""
    return _without(keys_of(service.ServiceSpec), "template") | flat_keys() | template_keys()


@functools.cache
def flat_keys() -> dict[str, Key]:
    """Keys of the container `main` that may stand in the service itself."""
    return _without(keys_of(container.ContainerSpec), "name")


@functools.cache
def template_keys() -> dict[str, Key]:
    """Keys that make a task, other than its containers' own."""
    return keys_of(service.TaskTemplate)


def _without(keys: dict[str, Key], name: str) -> dict[str, Key]:
    return {key: value for key, value in keys.items() if key != name}


def _key(model: Model, name: str, hint: Any) -> Key:
    info = model.model_fields[name]
    default = None if info.default is PydanticUndefined else info.default
    camel = info.alias or to_camel(name)
    also = _ALSO.get((model, camel), "")
    doc = info.description or ""
    return Key(camel, model, shape_of(hint), doc, info.is_required(), default, also)


def shape_of(hint: Any) -> Shape:
    """What may stand at a field with this type."""
    for known, word in (
        (quantity.Duration, "duration"),
        (quantity.Cpu, "cpu"),
        (quantity.Bytes, "bytes"),
        (quantity.Amount, "number or percentage"),
    ):
        if hint == known:
            return Shape("value", word)
    if typing.get_origin(hint) is typing.Annotated:
        return shape_of(typing.get_args(hint)[0])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union([each for each in arguments if each is not type(None)])
    if origin is Literal:
        return _choice(tuple(map(str, arguments)))
    if origin is tuple:
        item = shape_of(arguments[0])
        return Shape("list", f"list of {_many(item)}", item=item)
    if origin is dict:
        return Shape("map", "map of strings")
    return _plain_type(hint)


def _plain_type(hint: Any) -> Shape:
    if issubclass(hint, BaseModel):
        return Shape("object", "object", model=hint)
    if issubclass(hint, enum.Enum):
        return _choice(tuple(str(each.value) for each in hint))
    return {bool: Shape("value", "boolean"), int: Shape("value", "integer"), str: Shape("text", "string")}[
        hint
    ]


def _union(kinds: list[Any]) -> Shape:
    shapes = [each for each in map(shape_of, kinds) if each.choices != ("",)]
    if len(shapes) == 1:
        return shapes[0]
    return Shape("value", " or ".join(each.word for each in shapes))


def _choice(choices: tuple[str, ...]) -> Shape:
    return Shape("word", " | ".join(choices), choices=choices)


def _many(item: Shape) -> str:
    return {"string": "strings", "object": "objects"}.get(item.word, item.word)
