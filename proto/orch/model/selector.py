"""What `-l` asks of labels: `team=shop,ring!=canary,zone in (a, b),gpu,!old`. All of it must be so. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

_KEY = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?"
_ONE = re.compile(
    rf"""\s*(?:
      (?P<absent>!)\s*(?P<gone>{_KEY})
    | (?P<key>{_KEY}) (?:
        \s*(?P<equal>==|=|!=)\s*(?P<value>[^\s,()=!]*)
      | \s+(?P<among>in|notin)\s*\((?P<values>[^()]*)\)
      )?
    )\s*""",
    re.VERBOSE,
)
_FORMS = "write KEY=VALUE, KEY!=VALUE, KEY in (A, B), KEY notin (A, B), KEY or !KEY, parted by commas"


@dataclass(frozen=True, slots=True)
class Requirement:
    """Of one label."""

    key: str
    values: tuple[str, ...] | None = None
    """None: whatever its value is."""
    is_denied: bool = False
    """The contrary is asked; a label that is not there is none of the values."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        is_so = value is not None and (self.values is None or value in self.values)
        return is_so is not self.is_denied


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that must all be met; none at all selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(each.matches(labels) for each in self.requirements)


@lru_cache(maxsize=256)
def parse(text: str) -> Selector:
    """Raises ValueError with a sentence that says what to write."""
    found, at = [], 0
    while text[at:].strip():
        one = _ONE.match(text, at)
        if one is None or (one.end() < len(text) and text[one.end()] != ","):
            raise ValueError(f"{text[at:].strip()!r} is not a selector of labels: {_FORMS}")
        found.append(_requirement(one))
        at = one.end() + 1
    return Selector(tuple(found))


def _requirement(one: re.Match[str]) -> Requirement:
    if one["absent"]:
        return Requirement(one["gone"], is_denied=True)
    if one["equal"]:
        return Requirement(one["key"], (one["value"],), is_denied=one["equal"] == "!=")
    if one["among"]:
        values = tuple(value.strip() for value in one["values"].split(","))
        return Requirement(one["key"], values, is_denied=one["among"] == "notin")
    return Requirement(one["key"])
