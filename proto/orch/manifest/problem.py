"""What is wrong with a manifest, where, and what to do about it."""

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""The way down into a value: ("template", "containers", 0, "image")."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A character of a file. Lines and columns count from 1."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    where: Place | str
    """A place in a file; or, of a value that no file is known of, the field in words."""
    what: str
    hint: str = ""
    """What to do about it."""
    path: Path = ()
    """The field of the value, for whoever knows where it was written."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" — {self.hint}" if self.hint else "")

    def at(self, place: Place) -> "Problem":
        """The same problem, seen in a file."""
        return dataclasses.replace(self, where=place)


class ManifestError(Exception):
    """Manifests that cannot be used; carries every problem that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "replicas"?`, or nothing when no known word is near."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f'did you mean "{by_lower[near[0]]}"?' if near else ""
