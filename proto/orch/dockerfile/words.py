"""Words of a Dockerfile line: where one ends, what its quotes mean, and what stands for its variables (pure).

Quotes and escapes are those of a shell; single quotes keep everything as it is, double quotes expand
variables. `${name}` may carry one of the shell's modifiers: `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`.
"""

import fnmatch
import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#]")
_MODIFIERS = re.compile(r":[-+?]|[-+?]|##?|%%?|//?")


class BadWord(ValueError):
    """A word that cannot be read; the message says why."""


def split(text: str, escape: str = "\\") -> list[str]:
    """At white space outside quotes; quotes and escapes stay in the words."""
    words: list[str] = []
    start = position = 0
    quote = ""
    while position < len(text):
        letter = text[position]
        if quote:
            if letter == escape and quote == '"':
                position += 1
            elif letter == quote:
                quote = ""
        elif letter in "'\"":
            quote = letter
        elif letter == escape:
            position += 1
        elif letter.isspace():
            if start < position:
                words.append(text[start:position])
            start = position + 1
        position += 1
    if start < len(text):
        words.append(text[start:])
    return words


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """One word with its variables in place and its quotes taken off; BadWord when it cannot be read."""
    return _Reader(text, variables, escape).whole()


def expand_to_words(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """As `expand`, and what a variable stands for may be several words: `EXPOSE $PORTS`."""
    words: list[str] = []
    for word in split(text, escape):
        expanded = expand(word, variables, escape)
        words += [expanded] if any(quote in word for quote in "'\"") else expanded.split()
    return words


def expand_body(text: str, variables: Mapping[str, str]) -> str:
    """A here-document: as in a shell, quotes are letters like any other, and only a dollar can be escaped."""
    return _Reader(text, variables, "\\", quotes=False).whole()


class _Reader:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str, *, quotes: bool = True) -> None:
        self._quotes = quotes
        self._text = text
        self._at = 0
        self._variables = variables
        self._escape = escape

    def whole(self) -> str:
        return self._until("")

    def _until(self, stop: str) -> str:
        """What stands before `stop`, which is consumed."""
        parts: list[str] = []
        while self._at < len(self._text):
            letter = self._text[self._at]
            self._at += 1
            if letter == stop:
                return "".join(parts)
            if letter == "'" and self._quotes:
                parts.append(self._single())
            elif letter == '"' and self._quotes:
                parts.append(self._double())
            elif letter == "$":
                parts.append(self._variable())
            elif letter == self._escape and (self._quotes or self._text.startswith("$", self._at)):
                parts.append(self._next())
            else:
                parts.append(letter)
        if stop:
            raise BadWord(f'a "{stop}" is missing in {self._text}')
        return "".join(parts)

    def _next(self) -> str:
        letter = self._text[self._at : self._at + 1]
        self._at += 1
        return letter

    def _single(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise BadWord(f"a single quote is not closed in {self._text}")
        inside = self._text[self._at : end]
        self._at = end + 1
        return inside

    def _double(self) -> str:
        parts: list[str] = []
        while self._at < len(self._text):
            letter = self._next()
            if letter == '"':
                return "".join(parts)
            if letter == "$":
                parts.append(self._variable())
            elif letter == self._escape:
                following = self._next()
                parts.append(following if following in f'"${self._escape}' else letter + following)
            else:
                parts.append(letter)
        raise BadWord(f"a double quote is not closed in {self._text}")

    def _variable(self) -> str:
        if self._text[self._at : self._at + 1] != "{":
            found = _NAME.match(self._text, self._at)
            if not found:
                return "$"
            self._at = found.end()
            return self._variables.get(found.group(), "")
        self._at += 1
        found = _NAME.match(self._text, self._at)
        if not found:
            raise BadWord(f"${{…}} without a name in {self._text}")
        self._at = found.end()
        if self._text[self._at : self._at + 1] == "}":
            self._at += 1
            return self._variables.get(found.group(), "")
        return self._modified(found.group())

    def _modified(self, name: str) -> str:
        found = _MODIFIERS.match(self._text, self._at)
        if not found:
            raise BadWord(f"${{{name}…}} is not closed, or its modifier is unknown, in {self._text}")
        self._at = found.end()
        modifier = found.group()
        if modifier in {"/", "//"}:
            pattern, replacement = self._until("/"), self._until("}")
            return _replaced(self._variables.get(name, ""), pattern, replacement, everywhere=modifier == "//")
        word = self._until("}")
        value = self._variables.get(name)
        there = bool(value) if modifier.startswith(":") else value is not None
        match modifier[-1]:
            case "-":
                return value or "" if there else word
            case "+":
                return word if there else ""
            case "?":
                if not there:
                    raise BadWord(f"{name}: {word or 'is not set'}")
                return value or ""
            case "#":
                return _without_prefix(value or "", word, longest=modifier == "##")
            case _:
                return _without_suffix(value or "", word, longest=modifier == "%%")


def _without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    ends = range(len(value), -1, -1) if longest else range(len(value) + 1)
    end = next((end for end in ends if fnmatch.fnmatchcase(value[:end], pattern)), 0)
    return value[end:]


def _without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    starts = range(len(value) + 1) if longest else range(len(value), -1, -1)
    start = next((start for start in starts if fnmatch.fnmatchcase(value[start:], pattern)), len(value))
    return value[:start]


def _replaced(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    matcher = re.compile(fnmatch.translate(pattern).removesuffix(r"\Z").removesuffix(r"\z"))
    return matcher.sub(lambda _: replacement, value, count=0 if everywhere else 1)
