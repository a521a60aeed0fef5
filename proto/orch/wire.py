"""Values ↔ messages: one translation by field name, compiled once per type.

A message and its value have the same name and the same field names (a test holds both sides to it), so
nothing here knows any particular type. Sections absent on the wire take the value's default. A field that was
added later with a default other than zero must be `optional` in the .proto, or its absence would read as
zero.
"""

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from pydantic import BaseModel

from orch.v1 import control_pb2, sessions_pb2, values_pb2

T = TypeVar("T")
_Convert = Callable[[Any], Any]
_same: _Convert = lambda value: value  # noqa: E731  the identity is compared with `is`


def to_wire(value: Any) -> Any:
    """The message that says the same as the value."""
    return _plan(type(value)).write(value)


def from_wire(message: Message, kind: type[T]) -> T:
    """The value that the message says. Specs are not validated again: see `validated`."""
    return typing.cast("T", _plan(kind).read(message))


def encode(value: Any) -> bytes:
    """The value as bytes, as it lies in the store."""
    return typing.cast("bytes", to_wire(value).SerializeToString(deterministic=True))


def decode(data: bytes, kind: type[T]) -> T:
    """Raises google.protobuf.message.DecodeError when the bytes are not such a message."""
    return typing.cast("T", _plan(kind).read(message_type(typing.cast("Any", kind)).FromString(data)))


def decode_noting(data: bytes, kind: type[T]) -> tuple[T, bool]:
    """As `decode`; and whether there is more in it than this program knows, for `rewrite` to keep."""
    message = message_type(typing.cast("Any", kind)).FromString(data)
    value = typing.cast("T", _plan(kind).read(message))
    message.DiscardUnknownFields()  # in parts too; what is known is written as it was read
    return value, message.ByteSize() != len(data)


def rewrite(value: Any, previous: bytes) -> bytes:
    """As `encode`, keeping fields of `previous` that this program is too old to know."""
    message = to_wire(value)
    known = type(message).FromString(previous)
    _keep_unknown(message, known)
    return typing.cast("bytes", message.SerializeToString(deterministic=True))


def validated(spec: T) -> T:
    """The spec after all its own checks; raises pydantic.ValidationError. For what comes from outside."""
    if not isinstance(spec, BaseModel):
        raise TypeError(f"{type(spec).__name__} is no spec: only what users write has checks of its own")
    return typing.cast("T", type(spec).model_validate(spec.model_dump(mode="json")))


@functools.cache
def message_type(kind: type) -> Any:
    """The message class of a value class: the one with the same name."""
    for module in (values_pb2, control_pb2, sessions_pb2):
        found = getattr(module, kind.__name__, None)
        if found is not None:
            return found
    raise LookupError(f"{kind.__name__} has no message in orch/v1/*.proto")


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    write: _Convert
    read: _Convert
    default: Any
    is_message: bool
    is_optional: bool


class _Plan:
    """How one type is written and read."""

    def __init__(self, kind: type) -> None:
        self._message = message_type(kind)
        self._fields = [_field(*each) for each in _fields_of(kind)]
        self._make = kind.model_construct if issubclass(kind, BaseModel) else kind

    def write(self, value: Any) -> Message:
        found = {}
        for field in self._fields:
            part = getattr(value, field.name)
            if part is not None and part is not field.default:
                found[field.name] = part if field.write is _same else field.write(part)
        return typing.cast("Message", self._message(**found))

    def read(self, message: Any) -> Any:
        found = {}
        for field in self._fields:
            name = field.name
            if (field.is_message or field.is_optional) and not message.HasField(name):
                found[name] = field.default
            else:
                part = getattr(message, name)
                found[name] = part if field.read is _same else field.read(part)
        return self._make(**found)


_plan: Callable[[Any], _Plan] = functools.cache(_Plan)  # of Any: mypy doubts that every class can be hashed


def _fields_of(kind: type) -> list[tuple[str, Any, Any]]:
    """Name, type and default of each field; a zero default counts as none, since absence means it anyway."""
    hints = typing.get_type_hints(kind, include_extras=True)
    if issubclass(kind, BaseModel):
        return [
            (name, hints[name], None if info.is_required() else info.get_default(call_default_factory=True))
            for name, info in kind.model_fields.items()
        ]
    if dataclasses.is_dataclass(kind):
        return [
            (each.name, hints[each.name], None if each.default is dataclasses.MISSING else each.default)
            for each in dataclasses.fields(kind)
        ]
    return [(name, hints[name], None) for name in typing.cast("Any", kind)._fields]


def _field(name: str, hint: Any, default: Any) -> _Field:
    hint, is_optional = _without_none(hint)
    write, read = _conversion(hint, default)
    is_message = _is_value(hint)
    kept = default if is_message or is_optional else None
    return _Field(name, write, read, kept, is_message, is_optional and not is_message)


def _conversion(hint: Any, default: Any = None) -> tuple[_Convert, _Convert]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return str, _number_or_text
    if origin is tuple:
        write, read = _conversion(_bare(arguments[0]))
        if write is _same:
            return list, tuple
        return (lambda many: [write(each) for each in many]), (lambda many: tuple(map(read, many)))
    if origin is dict:
        return dict, dict
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        if issubclass(hint, enum.IntEnum):
            return int, lambda number: hint(number) if number else default
        return str, lambda text: hint(text) if text else default
    if _is_value(hint):
        # Bound late: a value may hold values of its own kind, and a plan is made once.
        return to_wire, lambda message: _plan(hint).read(message)
    return _same, _same


def _is_value(hint: Any) -> bool:
    return isinstance(hint, type) and (
        issubclass(hint, BaseModel) or dataclasses.is_dataclass(hint) or hasattr(hint, "_fields")
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    hint = _bare(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [each for each in typing.get_args(hint) if each is not type(None)]
        if len(kinds) < len(typing.get_args(hint)):
            return (_bare(kinds[0]) if len(kinds) == 1 else typing.Union[tuple(kinds)]), True  # noqa: UP007
    return hint, False


def _bare(hint: Any) -> Any:
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return hint


def _number_or_text(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _keep_unknown(message: Message, previous: Message) -> None:
    for descriptor in previous.DESCRIPTOR.fields:
        name = descriptor.name
        if descriptor.message_type is None or descriptor.message_type.GetOptions().map_entry:
            pass
        elif descriptor.is_repeated:
            _keep_unknown_of_many(getattr(message, name), getattr(previous, name))
        elif previous.HasField(name) and message.HasField(name):
            _keep_unknown(getattr(message, name), getattr(previous, name))
        previous.ClearField(name)
    message.MergeFromString(previous.SerializeToString())


def _keep_unknown_of_many(messages: Any, previous: Any) -> None:
    """An element is the same one when it has the same name; of those without names, when it is equal."""
    known = {_sameness(each): each for each in previous}
    for message in messages:
        before = known.pop(_sameness(message), None)
        if before is not None:
            _keep_unknown(message, before)


def _sameness(message: Any) -> Any:
    name = getattr(message, "name", "")
    if isinstance(name, str) and name:
        return name
    bare = type(message)()
    bare.CopyFrom(message)
    bare.DiscardUnknownFields()
    return bare.SerializeToString(deterministic=True)
