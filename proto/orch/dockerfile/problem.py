"""What is wrong with a Dockerfile: which line, what, and what to do."""

import difflib
from collections.abc import Iterable


class DockerfileError(Exception):
    """Shown as `Dockerfile:LINE: message; hint`."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line = line
        """1-based; 0 when it is about the whole file."""
        self.message = message
        self.hint = hint

    def sentence(self, file: str) -> str:
        place = f"{file}:{self.line}" if self.line else file
        return f"{place}: {self.message}" + (f"; {self.hint}" if self.hint else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word most like this one; empty when none is."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {found[0]}?" if found else ""
