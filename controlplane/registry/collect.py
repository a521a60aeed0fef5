"""What nobody needs any more goes: manifests without a name, and blobs that no manifest names.

Needed is what has a tag, what a revision within the history limit runs, what an index that is needed lists, what refers
to something needed, and what came a while ago at most.
"""

import contextlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from controlplane.registry.blobs import Blobs
from controlplane.registry.refusal import Refusal
from controlplane.registry.repositories import Repositories

GRACE_SECONDS = 3600.0
"""A push sends blobs first and names them last: what came a moment ago may be named in a moment."""
UNTAGGED_SECONDS = 7 * 86400.0
"""Somebody may deploy by digest what a tag stood for yesterday."""

Pinned = Callable[[], Collection[tuple[str, str]]]
"""(repository, digest) of what revisions run."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A manifest of a repository."""

    came: float
    parts: frozenset[str]
    members: frozenset[str]
    subject: str


async def collect(
    blobs: Blobs,
    repositories: Repositories,
    pinned: Pinned = tuple,
    *,
    grace: float = GRACE_SECONDS,
    untagged: float = UNTAGGED_SECONDS,
) -> list[str]:
    """Removes what was condemned `grace` seconds ago or longer, condemns what nobody needs; answers what is gone."""
    now = time.time()
    condemned = await repositories.condemned.all()
    came = {digest: at async for digest, at in blobs.all()}
    wanted = frozenset(pinned())
    needed: set[str] = set()
    homes: dict[str, list[str]] = {}
    async for name in repositories.names():
        kept = await _kept(
            repositories, name, {digest for home, digest in wanted if home == name}, now - untagged
        )
        needed |= kept
        for digest in await repositories.blobs(name):
            if digest not in kept:
                homes.setdefault(digest, []).append(name)
        for digest in await repositories.manifests(name):
            if digest not in kept:
                homes.setdefault(digest, []).append(name)
    gone = []
    for digest, at in came.items():
        if digest in needed or at >= now - grace:
            if digest in condemned:
                await repositories.condemned.spare(digest)
            if digest in needed:
                await _leave(repositories, digest, homes.get(digest, ()), now - grace)
        elif digest not in condemned:
            await repositories.condemned.add(digest)
        elif condemned[digest] < now - grace and await _remove(
            blobs, repositories, digest, homes, now - grace
        ):
            gone.append(digest)
    for digest in condemned.keys() - came.keys():
        await repositories.condemned.spare(digest)
    return gone


async def _remove(
    blobs: Blobs, repositories: Repositories, digest: str, homes: dict[str, list[str]], fresh_since: float
) -> bool:
    """Unless somebody has spared it, or pushed it anew, since we began to look."""
    if await blobs.came(digest) >= fresh_since:
        return False
    if not await repositories.condemned.is_in(digest):
        return False
    for name in homes.get(digest, ()):
        with contextlib.suppress(Refusal):  # it is no manifest there
            await repositories.remove(name, digest)
        await repositories.forget(name, digest)
    await blobs.remove(digest)
    await repositories.condemned.spare(digest)
    return True


async def _leave(repositories: Repositories, digest: str, homes: Collection[str], before: float) -> None:
    """Others need the content; these repositories have had it for long and name it nowhere."""
    for name in homes:
        at = max(await repositories.linked_at(name, digest), await repositories.recorded_at(name, digest))
        if at < before:
            await repositories.forget(name, digest)


async def _kept(repositories: Repositories, name: str, pinned: set[str], young_since: float) -> set[str]:
    """Digests of the manifests of a repository that are needed, and of their parts."""
    records = {
        digest: await _record(repositories, name, digest) for digest in await repositories.manifests(name)
    }
    roots = {await repositories.tagged(name, tag) for tag in await repositories.tags(name)} | pinned
    waiting = [digest for digest, record in records.items() if digest in roots or record.came >= young_since]
    kept: set[str] = set()
    found: set[str] = set()
    while waiting:
        digest = waiting.pop()
        record = records.get(digest)
        if record is None or digest in kept:
            continue
        kept.add(digest)
        found |= {digest} | record.parts
        waiting += record.members
        waiting += (other for other, about in records.items() if about.subject == digest)
    return found


async def _record(repositories: Repositories, name: str, digest: str) -> _Record:
    """One whose content is lost, or is no manifest any more, has no parts."""
    came = await repositories.recorded_at(name, digest)
    try:
        document: dict[str, Any] = json.loads((await repositories.manifest(name, digest)).body)
    except Refusal:
        return _Record(came, frozenset(), frozenset(), "")
    parts = [document.get("config"), *(document.get("layers") or []), *(document.get("blobs") or [])]
    return _Record(
        came,
        frozenset(part["digest"] for part in parts if part),
        frozenset(member["digest"] for member in document.get("manifests") or []),
        str((document.get("subject") or {}).get("digest", "")),
    )
