"""What nobody needs any more goes: blobs that no manifest names, in repositories and then altogether."""

import json
import time
from typing import Any

from controlplane.registry.blobs import Blobs
from controlplane.registry.refusal import Refusal
from controlplane.registry.repositories import Repositories

GRACE_SECONDS = 3600.0
"""A push sends blobs first and names them last: what came a moment ago may be named in a moment."""


async def collect(blobs: Blobs, repositories: Repositories, grace: float = GRACE_SECONDS) -> list[str]:
    """Removes unnamed blobs older than `grace` seconds; answers their digests."""
    fresh_since = time.time() - grace
    came = {digest: at async for digest, at in blobs.all()}
    needed: set[str] = set()
    async for name in repositories.names():
        named = await _named(repositories, name)
        for digest in await repositories.blobs(name):
            if digest not in named and came.get(digest, 0.0) < fresh_since:
                await repositories.unlink(name, digest)
            else:
                needed.add(digest)
        needed |= named
    gone = []
    for digest, at in came.items():
        if digest in needed or at >= fresh_since or await blobs.came(digest) >= fresh_since:
            continue  # the last: somebody has pushed it anew since we began to look
        await blobs.remove(digest)
        gone.append(digest)
    return gone


async def _named(repositories: Repositories, name: str) -> set[str]:
    """Digests of the manifests of a repository and of their parts."""
    found: set[str] = set()
    for digest in await repositories.manifests(name):
        try:
            body = (await repositories.manifest(name, digest)).body
        except Refusal:
            continue
        found.add(digest)
        document: dict[str, Any] = json.loads(body)
        parts = [document.get("config"), *(document.get("layers") or []), *(document.get("blobs") or [])]
        found |= {part["digest"] for part in parts if part}
    return found
