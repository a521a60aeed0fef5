"""What the registry has: every tag, what it stands for, how large that is, and since when."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from controlplane.registry.refusal import Refusal
from controlplane.registry.repositories import Repositories


@dataclass(frozen=True, slots=True)
class Tagged:
    repository: str
    tag: str
    digest: str
    size: int
    """Bytes of its layers as they are shipped; for several platforms, of all of them."""
    at: float
    """Unix seconds: when the tag was given."""


async def tagged(repositories: Repositories) -> AsyncIterator[Tagged]:
    """Every tag of every repository, in no order; one that goes meanwhile is left out."""
    async for name, tag, at in repositories.all_tags():
        digest = await repositories.tagged(name, tag)
        if digest:
            yield Tagged(name, tag, digest, sum((await _layers(repositories, name, digest)).values()), at)


async def _layers(repositories: Repositories, name: str, digest: str) -> dict[str, int]:
    """Sizes by digest: a layer that an image has twice, or two platforms share, is there once."""
    found: dict[str, int] = {}
    waiting = {digest}
    seen: set[str] = set()
    while waiting:
        seen.add(digest := waiting.pop())  # once each: an index may name one many times over
        try:
            document: dict[str, Any] = json.loads((await repositories.manifest(name, digest)).body)
        except Refusal:
            continue
        found |= {str(part["digest"]): int(part.get("size", 0)) for part in document.get("layers") or []}
        waiting |= {str(member["digest"]) for member in document.get("manifests") or []} - seen
    return found
