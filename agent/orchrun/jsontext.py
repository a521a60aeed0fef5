"""JSON through the interpreter's own scanner: the module json would import re, for a third of our time."""

import _json

from agent.orchrun.errors import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Context:
    """What the scanner asks for (json.decoder.JSONDecoder holds the same)."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(float)
    memo: "dict[str, str]" = {}  # noqa: RUF012  the scanner empties it after each use


_scan = _json.make_scanner(_Context())  # type: ignore[arg-type]
_SPACE = " \t\n\r"


def loads(text: str, what: str) -> "Any":
    """The value; Failed names the file and the place of what is wrong."""
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise Failed(f"{what}: {_place(text, stop.value)}: no JSON value stands here") from None
    except (ValueError, SystemError):
        raise Failed(f"{what}: {_explained(text)}") from None
    if text[end:].strip(_SPACE):
        raise Failed(f"{what}: {_place(text, end)}: something follows the JSON value")
    return value


def load(path: str) -> "Any":
    """The value in a file."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise Failed(f"open {path}: {(error.strerror or 'cannot be read').lower()}") from None
    except UnicodeDecodeError as error:
        raise Failed(f"{path}: is not UTF-8: {error}") from None
    return loads(text, path)


def dumps(value: "Any", indent: str = "") -> str:
    """In one line, or with an indent as runc writes it."""
    return "".join(_dump(value, indent, "\n"))


def _dump(value: "Any", indent: str, line: str) -> "list[str]":
    if isinstance(value, str):
        return [_json.encode_basestring(value)]
    if value is None or isinstance(value, bool):
        return [{None: "null", True: "true", False: "false"}[value]]
    if isinstance(value, dict):
        parts = [
            [_json.encode_basestring(str(key)), ": " if indent else ":", *_dump(one, indent, line + indent)]
            for key, one in value.items()
        ]
        return _brackets("{", parts, "}", indent, line)
    if isinstance(value, list | tuple):
        return _brackets("[", [_dump(one, indent, line + indent) for one in value], "]", indent, line)
    return [str(value)]


def _brackets(opening: str, parts: "list[list[str]]", closing: str, indent: str, line: str) -> "list[str]":
    if not parts:
        return [opening, closing]
    text = [opening]
    for number, part in enumerate(parts):
        if number:
            text.append(",")
        if indent:
            text.append(line + indent)
        text += part
    if indent:
        text.append(line)
    text.append(closing)
    return text


def _explained(text: str) -> str:
    """The scanner alone cannot say it: it looks for the error's class in the module that we do not import."""
    import json

    try:
        json.loads(text)
    except ValueError as error:
        return str(error)
    return "cannot be read"


def _place(text: str, index: int) -> str:
    return f"line {text.count(chr(10), 0, index) + 1}"
