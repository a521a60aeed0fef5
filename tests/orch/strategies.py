"""Hypothesis strategies for every value of the model, made from the types themselves."""

import dataclasses
import enum
import functools
import types
import typing
from typing import Any, Literal

from hypothesis import strategies as st
from pydantic import BaseModel

from orch.model import container, names, network, policy, probe, quantity, service

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
_NAME = st.text("abz019-", min_size=1, max_size=5).map(lambda text: f"a{text}9")
_KEY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4)
_AMOUNT = st.integers(0, 50).map(str) | st.integers(0, 100).map("{}%".format)
_DURATION = st.integers(0, 90_000_000).map(lambda milliseconds: milliseconds / 1000)
_PORT = st.integers(1, 65535) | _NAME
_NUMBER = st.integers(0, 2**40)
_WORD = (
    _NAME.map("svc/{}".format) | _NAME.map("ns/{}".format) | st.sampled_from(("*", "default", "10.0.0.0/8"))
)
_WORDS = st.lists(_WORD, max_size=3).map(tuple)
_RANGES = {
    (container.FileMount, "mode"): st.integers(0, 0o7777),
    (container.FileMount, "version"): st.integers(0, 1000),
    (container.ResourceAmounts, "pids"): _NUMBER,
    (policy.CanaryStep, "count"): st.integers(0, 100),
    (policy.CanaryStep, "percent"): st.integers(0, 100),
    (policy.RolloutPolicy, "history_limit"): st.integers(1, 100),
    (policy.PortSpec, "target"): st.integers(1, 65535),
    (policy.PortSpec, "port"): st.integers(0, 65535),
    (policy.PortSpec, "published"): st.integers(0, 65535),
    (network.NetworkSpec, "allow_from"): _WORDS,
    (network.NetworkSpec, "egress"): _WORDS,
    (network.RouteSpec, "weight"): st.none() | st.integers(0, 1000),
    (network.RouteSpec, "timeout"): st.integers(10, 900_000).map(lambda milliseconds: milliseconds / 1000),
    (policy.RestartPolicy, "attempts"): st.just("unlimited") | st.integers(0, 100),
    (probe.ProbeSpec, "period"): st.integers(10, 900_000).map(lambda milliseconds: milliseconds / 1000),
    (probe.ProbeSpec, "timeout"): st.integers(10, 900_000).map(lambda milliseconds: milliseconds / 1000),
    (probe.ProbeSpec, "success_threshold"): st.integers(1, 100),
    (probe.ProbeSpec, "failure_threshold"): st.integers(1, 1000),
    (probe.HttpCheck, "port"): _PORT,
    (probe.TcpCheck, "port"): _PORT,
    (service.ServiceSpec, "priority"): st.integers(-1000, 1000),
    (service.ServiceSpec, "replicas"): st.none() | st.integers(0, 10_000),
}


@functools.cache
def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of the type. Specs are right field by field; rules that span fields may be broken."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _specs(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return st.builds(kind, **{each.name: _of(hints[each.name]) for each in dataclasses.fields(kind)})
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: _of(hints[name]) for name in kind._fields})


@functools.cache
def _specs(kind: type[BaseModel]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {
        name: _RANGES[kind, name] if (kind, name) in _RANGES else _of(hints[name])
        for name in kind.model_fields
    }
    if kind is service.TaskTemplate:
        each = _specs(container.ContainerSpec)
        fields["containers"] = st.tuples(each) | st.tuples(each, each)
    if kind is policy.CanaryPolicy:
        fields["steps"] = _some(_few(_specs(policy.CanaryStep)))
    choices = {
        probe.ProbeSpec: ("http", "tcp", "exec"),
        policy.CanaryStep: ("nodes", "match_labels", "count", "percent"),
    }
    return _sparse(kind, fields, choices.get(kind, ()))


@st.composite
def _sparse(draw: st.DrawFn, kind: type[BaseModel], fields: dict[str, Any], choice: tuple[str, ...]) -> Any:
    """A few fields at a time differ from their defaults; of a choice exactly one is made."""
    required = [name for name, info in kind.model_fields.items() if info.is_required()]
    optional = [name for name in fields if name not in required and name not in choice]
    names_of = [
        *required,
        *(draw(st.lists(st.sampled_from(optional), max_size=4, unique=True)) if optional else []),
    ]
    drawn = {name: draw(fields[name]) for name in names_of}
    if choice:
        one = draw(st.sampled_from(choice))
        drawn[one] = draw(_some(fields[one]))
    return kind(**drawn)


def _few(each: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(()) | st.tuples(each) | st.tuples(each, each)


def _some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return strategy.filter(bool)


def _of(hint: Any) -> st.SearchStrategy[Any]:
    for known, strategy in (
        (quantity.Duration, _DURATION),
        (quantity.Cpu, st.integers(0, 64_000)),
        (quantity.Bytes, _NUMBER),
        (quantity.Amount, _AMOUNT),
        (names.Name, _NAME),
    ):
        if hint == known:
            return strategy
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _of(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(_of(each) for each in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return _few(_of(arguments[0]))
    if origin is dict:
        keys = _KEY if arguments[0] is str else _of(arguments[0])
        return _few(st.tuples(keys, _of(arguments[1]))).map(dict)
    return _plain(hint)


def _plain(hint: Any) -> st.SearchStrategy[Any]:
    if hint is type(None):
        return st.none()
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    simple = {
        str: _TEXT,
        int: _NUMBER,
        float: st.floats(0, 1e12, allow_nan=False),
        bool: st.booleans(),
        bytes: st.binary(max_size=20),
    }
    return simple[hint] if hint in simple else values(hint)
