"""Which files of a directory a build does not get: .dockerignore (pure).

Patterns are matched against paths relative to the directory; `**` is any number of directories, a pattern that
matches a directory covers what is in it, `!` brings back, and the last pattern that matches decides.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Ignore:
    patterns: tuple[tuple[bool, str], ...] = ()
    """(brings back, pattern) in order."""

    def leaves_out(self, path: str) -> bool:
        """`path` with forward slashes, relative to the directory."""
        out = False
        for brings_back, pattern in self.patterns:
            if out == brings_back and _covers(pattern, path):
                out = not brings_back
        return out

    def may_bring_back_below(self, directory: str) -> bool:
        """Whether something in a directory that is left out could come back: if not, it need not be walked."""
        return any(
            brings_back and (pattern.startswith(("**", f"{directory}/")) or "*" in pattern or "?" in pattern)
            for brings_back, pattern in self.patterns
        )


def read(text: str) -> Ignore:
    """The patterns of a .dockerignore file."""
    return Ignore(tuple(_patterns(text.removeprefix("\ufeff").splitlines())))


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern with `*`, `?`, `[…]` and `**` is this path; `*` and `?` do not cross a slash."""
    return _compiled(pattern).fullmatch(path) is not None


def _patterns(lines: Iterable[str]) -> Iterable[tuple[bool, str]]:
    for line in lines:
        text = line.strip()
        if not text or line.startswith("#"):
            continue
        brings_back = text.startswith("!")
        cleaned = _clean(text[1:].strip() if brings_back else text)
        if cleaned:
            yield brings_back, cleaned


def _clean(pattern: str) -> str:
    parts: list[str] = []
    for part in pattern.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in {"", ".", ".."}:
            parts.append(part)
    return "/".join(parts)


def _covers(pattern: str, path: str) -> bool:
    parts = path.split("/")
    return any(matches(pattern, "/".join(parts[:count])) for count in range(len(parts), 0, -1))


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    position = 0
    text = ""
    while position < len(pattern):
        letter = pattern[position]
        position += 1
        if pattern.startswith("**/", position - 1):
            text += "(?:.*/)?"
            position += 2
        elif pattern.startswith("**", position - 1):
            text += ".*"
            position += 1
        elif letter == "*":
            text += "[^/]*"
        elif letter == "?":
            text += "[^/]"
        elif letter == "[" and (end := pattern.find("]", position + 1)) > 0:
            inside = pattern[position:end].replace("\\", "\\\\")
            text += f"[{inside}]"
            position = end + 1
        elif letter == "\\" and position < len(pattern):
            text += re.escape(pattern[position])
            position += 1
        else:
            text += re.escape(letter)
    return re.compile(text, re.DOTALL)
