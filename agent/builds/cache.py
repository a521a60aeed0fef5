"""Which step made which layer, on disk: an unchanged line of a Dockerfile costs nothing.

<key>.json    the layer that the step with this key made; its time is when it was last used
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from agent.images import record
from agent.images.library import Library
from orch.oci.manifest import OCI_LAYER_GZIP, Descriptor

MOST_STEPS = 2000


@dataclass(frozen=True, slots=True)
class Made:
    """What a step made; an empty diff id is no change at all."""

    diff_id: str
    descriptor: Descriptor | None
    at: float = 0.0
    """Unix seconds: an image that is all from the cache is as old as its youngest step, and so the same one."""


class Cache:
    def __init__(self, directory: Path, library: Library) -> None:
        self._directory = directory
        self._library = library

    def open(self) -> list[str]:
        """The layers that it speaks of, to be kept; what is too much, or speaks of lost ones, goes."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = sorted(self._directory.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        kept = []
        for number, path in enumerate(entries):
            made = self._read(path)
            if made is None or number >= MOST_STEPS:
                path.unlink()
            elif made.diff_id:
                kept.append(made.diff_id)
        return kept

    def find(self, key: str) -> Made | None:
        path = self._directory / f"{key}.json"
        made = self._read(path) if path.exists() else None
        if made is not None:
            now = time.time()
            os.utime(path, (now, now))
        return made

    def keep(self, key: str, made: Made) -> None:
        words: dict[str, object] = {"diff_id": made.diff_id, "at": made.at}
        if made.descriptor:
            words |= {"digest": made.descriptor.digest, "size": made.descriptor.size}
        record.replace(self._directory / f"{key}.json", words, flush=False)

    def _read(self, path: Path) -> Made | None:
        words = record.read(path)
        diff_id = words.get("diff_id")
        at = float(str(words.get("at", 0.0)))
        if diff_id == "":
            return Made("", None, at)
        if not isinstance(diff_id, str) or not self._library.has_layer(diff_id):
            return None
        descriptor = Descriptor(OCI_LAYER_GZIP, str(words["digest"]), int(str(words["size"])))
        return Made(diff_id, descriptor, at)
