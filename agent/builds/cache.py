"""Which step made which layer, on disk: an unchanged line of a Dockerfile costs nothing.

<key>.json      the layer that the step with this key made; its time is when it was last used
<key>.digest    what files of another image are, found once
<key>.address   what was behind an address, and what its server calls that
"""

import hashlib
import os
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.builds.fetching import Known
from agent.images import record
from agent.images.library import Library
from orch.oci.manifest import OCI_LAYER_GZIP, Descriptor

MOST_STEPS = 2000
KEPT_SECONDS = 30 * 24 * 3600.0
"""A step that no build has used for so long goes, and with it what only it needed."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a step made; an empty diff id is no change at all."""

    diff_id: str
    descriptor: Descriptor | None
    at: float = 0.0
    """Unix seconds: an image that is all from the cache is as old as its youngest step, and so the same one."""


class Cache:
    def __init__(self, directory: Path, library: Library, blobs: Path) -> None:
        """`blobs`: where archives of layers made here are."""
        self._directory = directory
        self._library = library
        self._blobs = blobs

    def open(self) -> list[str]:
        """The layers that it speaks of, to be kept; what is too much, or speaks of lost ones, goes."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        since = time.time() - KEPT_SECONDS
        kept = []
        for number, (path, used_at) in enumerate(self._newest_first("*.json")):
            made = self._read(path)
            if made is None or number >= MOST_STEPS or used_at < since:
                path.unlink()
            elif made.diff_id:
                kept.append(made.diff_id)
        for pattern in ("*.digest", "*.address"):
            for number, (path, used_at) in enumerate(self._newest_first(pattern)):
                if number >= MOST_STEPS or used_at < since:
                    path.unlink()
        return kept

    def _newest_first(self, pattern: str) -> list[tuple[Path, float]]:
        found = [(path, path.stat().st_mtime) for path in self._directory.glob(pattern)]
        return sorted(found, key=lambda each: each[1], reverse=True)

    def find(self, key: str) -> Made | None:
        path = self._directory / f"{key}.json"
        made = self._read(path) if path.exists() else None
        if made is not None:
            os.utime(path)
            if made.descriptor:
                os.utime(blob_path(self._blobs, made.descriptor.digest))
        return made

    def keep(self, key: str, made: Made) -> None:
        words: dict[str, object] = {"diff_id": made.diff_id, "at": made.at}
        if made.descriptor:
            words |= {"digest": made.descriptor.digest, "size": made.descriptor.size}
        record.replace(self._directory / f"{key}.json", words, flush=False)

    def digest(self, key: str) -> str:
        """What was remembered; empty for nothing."""
        path = self._directory / f"{key}.digest"
        try:
            os.utime(path)
            return path.read_text()
        except FileNotFoundError:
            return ""

    def remember(self, key: str, digest: str) -> None:
        path = self._directory / f"{key}.digest"
        fresh = path.with_suffix(f".{uuid.uuid4().hex[:8]}.new")
        fresh.write_text(digest)
        fresh.rename(path)

    def address(self, address: str) -> Known | None:
        """What was behind it."""
        path = self._address_path(address)
        words = record.read(path)
        try:
            known = Known(
                str(words["digest"]), int(str(words["at"])), str(words["etag"]), str(words["modified"])
            )
            os.utime(path)
        except (KeyError, ValueError, OSError):
            return None
        return known

    def remember_address(self, address: str, known: Known) -> None:
        record.replace(self._address_path(address), asdict(known), flush=False)

    def _address_path(self, address: str) -> Path:
        return self._directory / f"{hashlib.sha256(address.encode()).hexdigest()}.address"

    def _read(self, path: Path) -> Made | None:
        words = record.read(path)
        diff_id = words.get("diff_id")
        at = float(str(words.get("at", 0.0)))
        if diff_id == "":
            return Made("", None, at)
        if not isinstance(diff_id, str) or not self._library.has_layer(diff_id):
            return None
        descriptor = Descriptor(OCI_LAYER_GZIP, str(words["digest"]), int(str(words["size"])))
        if not blob_path(self._blobs, descriptor.digest).exists():
            return None  # it could not be pushed
        return Made(diff_id, descriptor, at)


def blob_path(blobs: Path, digest: str) -> Path:
    return blobs / digest.removeprefix("sha256:")
