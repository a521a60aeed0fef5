"""The services as they lie in a file for orch-dns: written whole once in an agent's life, then by difference."""

import os
from collections.abc import Mapping
from pathlib import Path

MOST_APPENDED_BYTES = 1 << 20
"""So much, or as much as the whole had, is appended before the file is written anew."""


class NamesFile:
    """A line a service: its name, a tab and what is said of it; only the name when it is gone."""

    def __init__(self, path: Path) -> None:
        """Whatever lies there is of an earlier agent: the first `write` replaces it."""
        self._path = path
        self._written: Mapping[str, str] | None = None
        self._whole_bytes = 0
        self._appended_bytes = 0

    def write(self, lines: Mapping[str, str]) -> str:
        """Exactly these from now on; the word that tells orch-dns how to read them, empty when all is as it was.

        Raises OSError; the next call then begins anew.
        """
        before, self._written = self._written, None
        change = _difference(before, lines) if before is not None else []
        size = sum(map(len, change))
        if before is None or self._appended_bytes + size > max(MOST_APPENDED_BYTES, self._whole_bytes):
            self._write_whole(lines)
            word = "reload"
        else:
            self._append("".join(change))
            word = "more" if change else ""
        self._written = lines
        return word

    def _write_whole(self, lines: Mapping[str, str]) -> None:
        text = "".join([f"{name}\t{said}\n" for name, said in lines.items()])
        half = self._path.with_name(self._path.name + ".new")
        half.write_text(text)
        half.replace(self._path)
        self._whole_bytes, self._appended_bytes = len(text), 0

    def _append(self, text: str) -> None:
        if text:
            with self._path.open("ab", buffering=0) as file:
                data = text.encode()
                if file.write(data) != len(data):
                    raise OSError(f"{os.fspath(self._path)} could not be written whole: is the disk full?")
            self._appended_bytes += len(text)


def _difference(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    known = before.get
    changed = [f"{name}\t{said}\n" for name, said in now.items() if known(name) != said]
    return changed + [f"{name}\n" for name in before if name not in now]
