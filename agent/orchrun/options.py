"""Options as callers of runc and crun write them (pure).

Long ones with one dash or two, with `=` or a space, short ones in one word: argparse would take longer to
import than most commands take to run.
"""

from agent.orchrun.errors import Misused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Table = Mapping[str, str]
    Values = dict[str, "str | bool | list[str]"]

FLAG = "flag"
TEXT = "text"
LIST = "list"
"""May be given several times."""
MAYBE = "maybe"
"""A flag that also takes a value after `=`."""

_TRUE = {"true", "1", "t", "T", "TRUE", "True"}
_FALSE = {"false", "0", "f", "F", "FALSE", "False"}


class Options:
    """What was given, by long name."""

    __slots__ = ("_values",)

    def __init__(self, values: "Values") -> None:
        self._values = values

    def flag(self, name: str) -> bool:
        return bool(self._values.get(name, False))

    def text(self, name: str, default: str = "") -> str:
        value = self._values.get(name, default)
        return value if isinstance(value, str) else default

    def every(self, name: str) -> "list[str]":
        value = self._values.get(name, [])
        return value if isinstance(value, list) else []

    def number(self, name: str, default: int = 0) -> int:
        text = self.text(name)
        if not text:
            return default
        try:
            return int(text, 0)
        except ValueError:
            raise Misused(f"--{name} {text}: is not a number") from None

    def given(self, name: str) -> bool:
        return name in self._values


def parse(arguments: "Sequence[str]", table: "Table", *, mixed: bool = True) -> "tuple[Options, list[str]]":
    """Options, and what is left; with `mixed` options may stand behind arguments too, until `--`."""
    names = {}
    for key, kind in table.items():
        long, _, short = key.partition(",")
        names[long] = (long, kind)
        if short:
            names[short] = (long, kind)
    values: Values = {}
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            rest += waiting
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if not mixed:
                rest += waiting
                break
            continue
        _take(word, waiting, names, values)
    return Options(values), rest


def _take(word: str, waiting: "list[str]", names: "dict[str, tuple[str, str]]", values: "Values") -> None:
    name, equals, value = word.lstrip("-").partition("=")
    if name not in names:
        _take_cluster(word, waiting, names, values)
        return
    long, kind = names[name]
    match kind:
        case "flag" | "maybe":
            if value in _FALSE:
                values.pop(long, None)
            elif not equals or value in _TRUE or kind == MAYBE:
                values[long] = True
            else:
                raise Misused(f"--{long} {value}: is neither true nor false")
        case _:
            if not equals:
                if not waiting:
                    raise Misused(f"flag needs an argument: --{long}")
                value = waiting.pop(0)
            _put(long, kind, value, values)


def _take_cluster(
    word: str, waiting: "list[str]", names: "dict[str, tuple[str, str]]", values: "Values"
) -> None:
    """-dt, and -eNAME=VALUE."""
    if word.startswith("--"):
        raise Misused(f"flag provided but not defined: {word}")
    letters = word[1:]
    for place, letter in enumerate(letters):
        if letter not in names:
            raise Misused(f"flag provided but not defined: {word}")
        long, kind = names[letter]
        if kind in {FLAG, MAYBE}:
            values[long] = True
            continue
        value = letters[place + 1 :]
        if not value:
            if not waiting:
                raise Misused(f"flag needs an argument: -{letter}")
            value = waiting.pop(0)
        _put(long, kind, value, values)
        return


def _put(long: str, kind: str, value: str, values: "Values") -> None:
    if kind != LIST:
        values[long] = value
        return
    found = values.setdefault(long, [])
    if isinstance(found, list):
        found.append(value)
