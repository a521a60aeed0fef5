"""Where layers are made: the directories of builds, and the helper process that works in an image's tree.

work/<id>/           one step: upper/ work/ place/ source/
blobs/<digits>       compressed archives of layers made here, for pushing
empty/               below an image that begins with nothing
caches/<id>/         `--mount=type=cache`
"""

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.builds.sources import CannotPlace
from agent.linux import removal

_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); from agent.builds import placer; placer.main()"
)


MOST_BLOB_BYTES = 20 << 30
MOST_CACHE_BYTES = 20 << 30
KEPT_SECONDS = 30 * 24 * 3600.0
"""What no build has used for so long goes."""


class Workshop:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.blobs = directory / "blobs"
        self.caches = directory / "caches"
        self.empty = directory / "empty"

    def open(self) -> None:
        """What a build left that was killed goes."""
        removal.tree(self.directory / "work", ignore_errors=True)
        for each in (self.directory, self.directory / "work", self.blobs, self.caches):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.empty.mkdir(mode=0o755, exist_ok=True)

    def tidy(self) -> None:
        """What is old goes, and of the rest what was used longest ago, until it is little enough.

        No build may be under way.
        """
        tidy(self.blobs, MOST_BLOB_BYTES)
        tidy(self.caches, MOST_CACHE_BYTES)

    @asynccontextmanager
    async def bench(self) -> AsyncIterator[Path]:
        """A directory for one step, gone afterwards; it may hold very many files, so a thread removes them."""
        path = self.directory / "work" / uuid.uuid4().hex[:12]
        for name in ("upper", "work", "place", "source"):
            (path / name).mkdir(mode=0o755, parents=True)
        try:
            yield path
        finally:
            await asyncio.to_thread(removal.tree, path, ignore_errors=True)

    def cache(self, identity: str) -> Path:
        """Where the cache of a `--mount=type=cache` is, or will be."""
        return self.caches / hashlib.sha256(identity.encode()).hexdigest()[:24]

    async def ask(self, kind: str, **order: Any) -> dict[str, Any]:
        """The helper's answer. Raises CannotPlace with its sentence."""
        paths = "\n".join(path for path in sys.path if path)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, paths),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"LC_ALL": "C.UTF-8"} | {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"},
        )
        try:
            said, complaint = await process.communicate(
                json.dumps({"kind": kind, "parent": os.getpid(), **order}).encode()
            )
        finally:
            with contextlib.suppress(ProcessLookupError):
                if process.returncode is None:
                    process.kill()
        if not said:
            last = complaint.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise CannotPlace(f"the helper of the build ended with {process.returncode}: {last[0]}")
        answer: dict[str, Any] = json.loads(said)
        if problem := answer.get("problem"):
            raise CannotPlace(problem)
        return answer


def tidy(directory: Path, most_bytes: int) -> None:
    """Its members that were not used for long go, and the longest unused of the others while they are too much."""
    since = time.time() - KEPT_SECONDS
    total = 0
    found = [(each, each.lstat().st_mtime) for each in directory.iterdir()]
    for each, used_at in sorted(found, key=lambda pair: pair[1], reverse=True):
        total += _size(each)
        if used_at >= since and total <= most_bytes:
            continue
        if each.is_dir():
            removal.tree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Bytes on disk of a file, or of all that a directory holds."""
    if not path.is_dir():
        return path.lstat().st_blocks * 512
    return sum(
        os.lstat(os.path.join(at, name)).st_blocks * 512 for at, _, names in os.walk(path) for name in names
    )
