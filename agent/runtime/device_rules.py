"""Device rules of the OCI configuration, put in order, and as cgroup v1 is told them (pure).

A rule: [allow, type "a" "b" or "c", major, minor (-1: any), access bits]. Later rules win over earlier ones.
"""

from agent.runtime import refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    Rule: TypeAlias = tuple[bool, str, int, int, int]

MKNOD, READ, WRITE = 1, 2, 4
ALL = MKNOD | READ | WRITE
ANY = -1
_LETTERS = {"r": READ, "w": WRITE, "m": MKNOD}
_KINDS = {"": "a", "a": "a", "b": "b", "c": "c", "u": "c", "p": ""}

EVERYTHING: "Rule" = (False, "a", ANY, ANY, ALL)
USUAL: "list[Rule]" = [
    (True, "c", ANY, ANY, MKNOD),  # a node can be made; that does not open it
    (True, "b", ANY, ANY, MKNOD),
    (True, "c", 1, 3, ALL),  # null
    (True, "c", 1, 5, ALL),  # zero
    (True, "c", 1, 7, ALL),  # full
    (True, "c", 1, 8, ALL),  # random
    (True, "c", 1, 9, ALL),  # urandom
    (True, "c", 5, 0, ALL),  # tty
    (True, "c", 5, 2, ALL),  # ptmx
    (True, "c", 136, ANY, ALL),  # pts
]
"""What every container has, whatever its rules say: the specification's default devices."""


def ordered(entries: "Sequence[Mapping[str, Any]]") -> "list[Rule]":
    """All that takes effect, first to last: from the last rule on everything, and the usual devices."""
    rules = [EVERYTHING, *(_rule(number, entry) for number, entry in enumerate(entries)), *USUAL]
    resets = [place for place, rule in enumerate(rules) if rule[1:] == EVERYTHING[1:]]
    return rules[resets[-1] :]


def allows(rules: "Sequence[Rule]", kind: str, major: int, minor: int, access: int) -> bool:
    """The meaning of rules, that whatever is made of them must keep."""
    for allow, rule_kind, rule_major, rule_minor, bits in reversed(rules):
        if rule_kind in {"a", kind} and rule_major in {ANY, major} and rule_minor in {ANY, minor}:
            if allow:
                access &= ~bits
                if not access:
                    return True
            elif access & bits:
                return False
    return False


def v1_rows(rules: "Sequence[Rule]") -> "Iterator[list[str]]":
    key = "linux.resources.devices"
    for allow, kind, major, minor, bits in rules:
        file = "devices.allow" if allow else "devices.deny"
        if (kind, major, minor, bits) == EVERYTHING[1:]:
            yield ["devices", file, "a", key]
            continue
        letters = "".join(letter for letter, bit in _LETTERS.items() if bits & bit)
        for one in "bc" if kind == "a" else kind:
            yield ["devices", file, f"{one} {_number(major)}:{_number(minor)} {letters}", key]


def _rule(place: int, entry: "Mapping[str, Any]") -> "Rule":
    where = f"linux.resources.devices[{place}]"
    kind = _KINDS.get(entry.get("type") or "", "")
    if not kind:
        raise refusals.refused(f"{where}.type", f"is {entry.get('type')!r}; it is a, b or c")
    bits = 0
    for letter in entry.get("access") or "rwm":
        if letter not in _LETTERS:
            raise refusals.refused(f"{where}.access", f"has {letter!r}; it is made of r, w and m")
        bits |= _LETTERS[letter]
    major, minor = (ANY if entry.get(name) is None else int(entry[name]) for name in ("major", "minor"))
    return bool(entry.get("allow")), kind, max(major, ANY), max(minor, ANY), bits


def _number(number: int) -> str:
    return "*" if number == ANY else str(number)
