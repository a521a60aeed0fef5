"""A document as it was written: what stands there, and at which line and column."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from orch.manifest.problem import Path, Place


@dataclass(slots=True)
class Scalar:
    """A single value."""

    value: str | int | float | bool | None
    text: str
    """As it was typed: `1.10` where the value is 1.1."""
    place: Place


@dataclass(slots=True)
class Sequence:
    """A list."""

    items: list["Node"]
    place: Place
    is_incomplete: bool = False
    """An entry was refused and left out."""


@dataclass(slots=True)
class Entry:
    """A key and its value."""

    place: Place
    """Of the key."""
    node: "Node"


@dataclass(slots=True)
class Mapping:
    """Keys and values, in the order they were written."""

    place: Place
    entries: dict[str, Entry] = field(default_factory=dict)
    is_incomplete: bool = False
    """Something of it was refused already; that it is missing now is no second problem."""


Node = Scalar | Sequence | Mapping


def scalar(value: str | float | bool, place: Place) -> Scalar:
    """A value that the reader made of something written at `place`."""
    return Scalar(value, str(value), place)


def mapping_of(place: Place, **values: Node) -> Mapping:
    """A mapping that the reader made of something written at `place`."""
    return Mapping(place, {key: Entry(node.place, node) for key, node in values.items()})


def plain(node: Node) -> Any:
    """Without the places: dicts, lists and scalars."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(each) for each in node.items]
        case Mapping():
            return {key: plain(entry.node) for key, entry in node.entries.items()}


def walk(node: Node, path: Path) -> Iterator[tuple[str | int, Entry]]:
    """The steps of `path` that exist, and where each was written. Steps that name nothing are passed over."""
    for step in path:
        if isinstance(node, Mapping) and step in node.entries:
            entry = node.entries[str(step)]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            entry = Entry(node.items[step].place, node.items[step])
        else:
            continue
        yield step, entry
        node = entry.node


def place_of(node: Node, path: Path) -> Place:
    """Where the deepest existing step of `path` was written."""
    found = node.place
    for _, entry in walk(node, path):
        found = entry.node.place
    return found


def describe(node: Node) -> str:
    """What stands there, for a sentence."""
    match node:
        case Scalar(value=None):
            return "nothing"
        case Scalar(text=text):
            return f'"{text}"' if len(text) <= 60 else f'"{text[:57]}…"'
        case Sequence():
            return "a list"
        case Mapping():
            return "a map"
