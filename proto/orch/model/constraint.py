"""Placement constraints: `node.labels.zone in (a, b)`, `node.name != vm-9`, `node.labels.gpu exists`.

An expression names one attribute of a node and says what it must be. Pure: the manifest checks with it, the
scheduler chooses with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

_PLAIN_ATTRIBUTES = ("node.name", "node.arch", "node.os")
_LABEL = "node.labels."
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_EXPRESSION = re.compile(
    r"""\s*(?P<attribute>[^\s=!()]+)\s*
    (?: (?P<equal>==|!=)\s*(?P<value>.*?)
      | (?P<among>in|notin)\s*\((?P<values>[^()]*)\)
      | (?P<exists>!?\s*exists)
    )\s*""",
    re.VERBOSE,
)
_FORMS = "write ATTRIBUTE == value, != value, in (a, b), notin (a, b), exists or !exists"


class Operator(StrEnum):
    """What is asked of the attribute."""

    IN = "in"
    """It is there, and is one of the values; `==` is `in` with one value."""
    NOT_IN = "notin"
    """It is none of the values, or it is not there at all; `!=` is `notin` with one value."""
    EXISTS = "exists"
    ABSENT = "!exists"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One expression, understood."""

    attribute: str
    operator: Operator
    values: tuple[str, ...] = ()

    def allows(self, value: str | None) -> bool:
        """Whether a node whose attribute has this value may be taken; None is a node without it."""
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """The same, asked of all attributes of a node (`attributes_of` makes them)."""
        return self.allows(attributes.get(self.attribute))

    def __str__(self) -> str:
        match self.operator, self.values:
            case Operator.IN, (one,):
                return f"{self.attribute} == {one}"
            case Operator.NOT_IN, (one,):
                return f"{self.attribute} != {one}"
            case ((Operator.IN | Operator.NOT_IN), many):
                return f"{self.attribute} {self.operator} ({', '.join(many)})"
            case _:
                return f"{self.attribute} {self.operator}"


def attributes_of(name: str, labels: Mapping[str, str], architecture: str, os: str) -> dict[str, str]:
    """What constraints may ask about a node. What a node has not said about itself is absent."""
    attributes = {_LABEL + key: value for key, value in labels.items()}
    attributes["node.name"] = name
    if architecture:
        attributes["node.arch"] = architecture
    if os:
        attributes["node.os"] = os
    return attributes


@lru_cache(maxsize=4096)
def parse(text: str) -> Constraint:
    """One expression. Raises ValueError with a sentence that says what is wrong and what to write."""
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a constraint: {_FORMS}")
    attribute = _checked_attribute(found["attribute"], text)
    if found["exists"]:
        operator = Operator.ABSENT if found["exists"].startswith("!") else Operator.EXISTS
        return Constraint(attribute, operator)
    if found["equal"]:
        operator = Operator.IN if found["equal"] == "==" else Operator.NOT_IN
        return Constraint(attribute, operator, (_checked_value(found["value"], text),))
    values = tuple(_checked_value(value, text) for value in found["values"].split(","))
    return Constraint(attribute, Operator(found["among"]), values)


def _checked_attribute(attribute: str, text: str) -> str:
    if attribute in _PLAIN_ATTRIBUTES:
        return attribute
    if attribute.startswith(_LABEL) and _LABEL_KEY.fullmatch(attribute.removeprefix(_LABEL)):
        return attribute
    known = ", ".join((*_PLAIN_ATTRIBUTES, "node.labels.KEY"))
    raise ValueError(f"{attribute!r} in {text!r} is not an attribute of a node: use {known}")


def _checked_value(word: str, text: str) -> str:
    value = word.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    if not _VALUE.fullmatch(value):
        raise ValueError(
            f"{value!r} in {text!r} is not a value: use letters, digits, hyphens, dots and underscores"
        )
    return value
