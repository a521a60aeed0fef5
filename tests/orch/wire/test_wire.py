"""Values ↔ messages."""

import dataclasses
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from orch import wire
from orch.manifest import document
from orch.model import (
    assignment,
    cluster,
    config,
    container,
    event,
    names,
    network,
    node,
    policy,
    probe,
    resources,
    rollout,
    security,
    service,
    task,
    traffic,
)
from orch.model.spec import Spec
from orch.v1 import control_pb2, sessions_pb2, values_pb2
from tests.orch import strategies

_ROOMS = (
    assignment,
    cluster,
    config,
    container,
    document,
    event,
    names,
    network,
    node,
    policy,
    probe,
    resources,
    rollout,
    security,
    service,
    task,
    traffic,
)


def _has_no_message(kind: type) -> bool:
    """Node joins two values that are sent apart; Written is the reader's own."""
    return kind in (Spec, node.Node, document.Written)


def _values() -> Iterator[type]:
    for room in _ROOMS:
        yield from _defined_in(room)


def _defined_in(room: ModuleType) -> Iterator[type]:
    for kind in vars(room).values():
        if not inspect.isclass(kind) or kind.__module__ != room.__name__ or _has_no_message(kind):
            continue
        if dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel) or hasattr(kind, "_fields"):
            yield kind


def _fields(kind: Any) -> list[str]:
    if issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return (
        [each.name for each in dataclasses.fields(kind)]
        if dataclasses.is_dataclass(kind)
        else list(kind._fields)
    )


KINDS = list(_values())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_value_and_its_message_have_the_same_fields(kind: type) -> None:
    message = wire.message_type(kind).DESCRIPTOR

    assert sorted(_fields(kind)) == sorted(field.name for field in message.fields)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_value_survives_the_wire(kind: type) -> None:
    @settings(max_examples=12, deadline=None)
    @given(strategies.values(kind))
    def survives(value: Any) -> None:
        assert wire.from_wire(wire.to_wire(value), kind) == value
        assert wire.decode(wire.encode(value), kind) == value

    survives()


def test_every_message_of_the_values_has_a_value() -> None:
    known = {kind.__name__ for kind in KINDS}

    assert set(values_pb2.DESCRIPTOR.message_types_by_name) <= known


def test_the_states_of_a_task_have_the_same_numbers_on_the_wire() -> None:
    numbers = dict(values_pb2.TaskState.items())

    assert {state.name: int(state) for state in task.TaskState} | {"TASK_STATE_UNSPECIFIED": 0} == numbers


@settings(max_examples=30, deadline=None)
@given(strategies.values(service.ServiceSpec))
def test_a_spec_from_the_wire_passes_its_own_checks_unchanged(spec: service.ServiceSpec) -> None:
    assert wire.validated(wire.from_wire(wire.to_wire(spec), service.ServiceSpec)) == spec


def test_a_spec_from_the_wire_that_breaks_a_rule_is_refused() -> None:
    message = values_pb2.ServiceSpec(mode="replicated", template=values_pb2.TaskTemplate())

    with pytest.raises(ValueError, match="containers"):
        wire.validated(wire.from_wire(message, service.ServiceSpec))


@given(st.integers(1, 2**40), st.text(max_size=10))
def test_a_rewrite_keeps_what_a_newer_program_wrote(revision: int, name: str) -> None:
    newer = values_pb2.NodeSpec(name="n1", labels={"a": "b"}).SerializeToString() + _unknown_field(
        900, b"from the future"
    )

    rewritten = wire.rewrite(node.NodeSpec("n1", {"c": name}, joined_at=float(revision)), newer)

    assert b"from the future" in rewritten
    assert wire.decode(rewritten, node.NodeSpec) == node.NodeSpec(
        "n1", {"c": name}, joined_at=float(revision)
    )


def test_a_rewrite_keeps_unknown_fields_of_parts() -> None:
    facts = values_pb2.Facts(hostname="h").SerializeToString() + _unknown_field(901, b"inner")
    newer = values_pb2.NodeStatus(name="n1").SerializeToString() + _unknown_field(6, facts)

    rewritten = wire.rewrite(node.NodeStatus("n1", facts=node.Facts(hostname="other")), newer)

    assert b"inner" in rewritten
    assert wire.decode(rewritten, node.NodeStatus).facts.hostname == "other"


def test_a_rewrite_keeps_unknown_fields_of_the_parts_of_a_list() -> None:
    """A container is the same one by its name, wherever it now stands."""
    web = values_pb2.ContainerSpec(name="web").SerializeToString() + _unknown_field(902, b"of web")
    log = values_pb2.ContainerSpec(name="log").SerializeToString() + _unknown_field(902, b"of log")
    number = values_pb2.TaskTemplate.DESCRIPTOR.fields_by_name["containers"].number
    newer = _unknown_field(number, web) + _unknown_field(number, log)
    containers = (
        container.ContainerSpec(name="log", image="log:2"),
        container.ContainerSpec(name="new", image="new:1"),
    )

    rewritten = wire.rewrite(service.TaskTemplate(containers=containers), newer)

    assert (rewritten.count(b"of log"), rewritten.count(b"of web")) == (1, 0)
    assert wire.decode(rewritten, service.TaskTemplate).containers == containers


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_what_a_newer_program_wrote_is_noted_as_such(kind: type) -> None:
    @settings(max_examples=5, deadline=None)
    @given(strategies.values(kind))
    def is_noted(value: Any) -> None:
        encoded = wire.encode(value)
        assert wire.decode_noting(encoded, kind) == (value, False)
        assert wire.decode_noting(encoded + _unknown_field(900, b"new"), kind) == (value, True)

    is_noted()


def test_zero_is_told_from_nothing_where_it_matters() -> None:
    ended = task.ContainerStatus("main", exit_code=0)

    assert wire.from_wire(wire.to_wire(ended), task.ContainerStatus).exit_code == 0
    assert wire.from_wire(wire.to_wire(task.ContainerStatus("main")), task.ContainerStatus).exit_code is None


def test_no_name_means_two_messages() -> None:
    names_of = [
        set(module.DESCRIPTOR.message_types_by_name) for module in (values_pb2, control_pb2, sessions_pb2)
    ]

    assert not names_of[0] & names_of[1] | names_of[0] & names_of[2] | names_of[1] & names_of[2]


def _unknown_field(number: int, content: bytes) -> bytes:
    """A length-delimited field, as protobuf writes it."""
    tag = number << 3 | 2
    return _varint(tag) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
