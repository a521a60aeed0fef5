"""Which repository has what: blobs it may serve, manifests, tags, and who refers to whom.

    repositories/<name>/_blobs/<digits>              empty: this repository has the blob
    repositories/<name>/_manifests/<digits>          its media type
    repositories/<name>/_tags/<tag>                  a digest
    repositories/<name>/_referrers/<digits>/<digits> descriptor of a manifest that names the first as its subject

A repository's components never begin with `_`, so nothing here can be taken for a name.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import obstore
from obstore.store import ObjectStore

from controlplane.registry import durable
from controlplane.registry.blobs import Blobs
from controlplane.registry.condemned import SECOND_LOOK_SECONDS, Condemned
from controlplane.registry.refusal import Code, Refusal
from orch.oci import manifest, reference


@dataclass(frozen=True, slots=True)
class Manifest:
    digest: str
    media_type: str
    body: bytes
    subject: str = ""
    """The digest that it refers to; empty for none."""


class Repositories:
    def __init__(self, store: ObjectStore, blobs: Blobs, second_look: float = SECOND_LOOK_SECONDS) -> None:
        self._store = store
        self._blobs = blobs
        self._second_look = second_look
        self.condemned = Condemned(store)

    # Blobs

    async def has(self, name: str, digest: str) -> bool:
        return await self._is(f"{_home(name)}/_blobs/{_digits(digest)}")

    async def link(self, name: str, digest: str) -> None:
        """From now on the repository has the blob, which is here."""
        await self.condemned.spare(digest)
        await self._write(f"{_home(name)}/_blobs/{_digits(digest)}", b"")

    async def unlink(self, name: str, digest: str) -> None:
        if not await self._erase(f"{_home(name)}/_blobs/{_digits(digest)}"):
            raise Refusal(Code.BLOB_UNKNOWN, f"{name} has no blob {digest}")

    async def linked_at(self, name: str, digest: str) -> float:
        """Since when the repository has the blob, in Unix seconds; 0 if it has not."""
        return await self._at(f"{_home(name)}/_blobs/{_digits(digest)}")

    async def forget(self, name: str, digest: str) -> None:
        """Whatever the repository has under this digest, it has no more."""
        for kind in ("_blobs", "_manifests"):
            await self._erase(f"{_home(name)}/{kind}/{_digits(digest)}")

    # Manifests

    async def recorded_at(self, name: str, digest: str) -> float:
        """When the manifest was pushed last, in Unix seconds; 0 if it was not."""
        return await self._at(f"{_home(name)}/_manifests/{_digits(digest)}")

    async def manifest(self, name: str, wanted: str) -> Manifest:
        """By tag or digest."""
        digest = wanted if reference.is_digest(wanted) else await self.tagged(name, wanted)
        kind = await self._read(f"{_home(name)}/_manifests/{_digits(digest)}") if digest else None
        if kind is None:
            raise Refusal(Code.MANIFEST_UNKNOWN, f"{name} has no {wanted}")
        try:
            return Manifest(digest, kind.decode(), await self._blobs.whole(digest))
        except FileNotFoundError:
            raise Refusal(
                Code.MANIFEST_UNKNOWN, f"the content of {name}@{digest} is lost: push it again"
            ) from None

    async def put(self, name: str, wanted: str, media_type: str, body: bytes) -> Manifest:
        """Keeps a manifest under its digest, and under a tag if `wanted` is one; its parts must be here."""
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if reference.is_digest(wanted) and wanted != digest:
            raise Refusal(Code.DIGEST_INVALID, f"the manifest has the digest {digest}, not {wanted}")
        document = _document(body)
        kind = document.get("mediaType") or media_type or manifest.OCI_MANIFEST
        await self._check_parts(name, document)
        spared = [await self.condemned.spare(each) for each in (digest, *_named_by(document))]
        await self._blobs.put(digest, body)
        await self._write(f"{_home(name)}/_manifests/{_digits(digest)}", str(kind).encode())
        subject = _digest_of(document.get("subject")) if document.get("subject") else ""
        if subject:
            place = f"{_home(name)}/_referrers/{_digits(subject)}/{_digits(digest)}"
            await self._write(place, json.dumps(_descriptor(document, str(kind), digest, len(body))).encode())
        if not reference.is_digest(wanted):
            await self._write(f"{_home(name)}/_tags/{wanted}", digest.encode())
        if any(spared):
            await self._look_again(name, digest, document)
        return Manifest(digest, str(kind), body, subject)

    async def remove(self, name: str, wanted: str) -> None:
        """A tag, or a manifest with all its tags."""
        if not reference.is_digest(wanted):
            if not await self._erase(f"{_home(name)}/_tags/{wanted}"):
                raise Refusal(Code.MANIFEST_UNKNOWN, f"{name} has no tag {wanted}")
            return
        found = await self.manifest(name, wanted)
        for tag in await self.tags(name):
            if await self.tagged(name, tag) == wanted:
                await self._erase(f"{_home(name)}/_tags/{tag}")
        if subject := _document(found.body).get("subject"):
            place = f"{_home(name)}/_referrers/{_digits(_digest_of(subject))}/{_digits(wanted)}"
            await self._erase(place)
        await self._erase(f"{_home(name)}/_manifests/{_digits(wanted)}")

    async def tagged(self, name: str, tag: str) -> str:
        """The digest a tag stands for; empty for an unknown tag."""
        return (await self._read(f"{_home(name)}/_tags/{tag}") or b"").decode()

    async def tags(self, name: str) -> list[str]:
        return sorted(await self._names(f"{_home(name)}/_tags"))

    async def manifests(self, name: str) -> list[str]:
        """Digests."""
        return [f"sha256:{digits}" for digits in await self._names(f"{_home(name)}/_manifests")]

    async def blobs(self, name: str) -> list[str]:
        """Digests."""
        return [f"sha256:{digits}" for digits in await self._names(f"{_home(name)}/_blobs")]

    async def referrers(self, name: str, digest: str) -> list[dict[str, Any]]:
        """Descriptors of what names this digest as its subject."""
        place = f"{_home(name)}/_referrers/{_digits(digest)}"
        found = [await self._read(f"{place}/{one}") for one in sorted(await self._names(place))]
        return [json.loads(one) for one in found if one]

    async def names(self) -> AsyncIterator[str]:
        """Every repository that has a manifest or a blob."""
        seen: set[str] = set()
        async for batch in obstore.list(self._store, "repositories"):
            for one in batch:
                name = str(one["path"]).removeprefix("repositories/").partition("/_")[0]
                if name not in seen:
                    seen.add(name)
                    yield name

    async def all_tags(self) -> AsyncIterator[tuple[str, str, float]]:
        """(repository, tag, when it was given in Unix seconds)."""
        async for batch in obstore.list(self._store, "repositories"):
            for one in batch:
                name, is_tag, tag = str(one["path"]).removeprefix("repositories/").partition("/_tags/")
                if is_tag:
                    yield name, tag, one["last_modified"].timestamp()

    async def _look_again(self, name: str, digest: str, document: dict[str, Any]) -> None:
        """A collection may have looked for the mark a moment before it was taken away."""
        await asyncio.sleep(self._second_look)
        await self._check_parts(name, document)
        if await self._blobs.size(digest) is None:
            raise Refusal(Code.MANIFEST_UNKNOWN, f"{name}@{digest} was being removed: push it again")

    async def _check_parts(self, name: str, document: dict[str, Any]) -> None:
        parts = [document["config"]] if document.get("config") else []
        for part in [*parts, *(document.get("layers") or []), *(document.get("blobs") or [])]:
            digest = _digest_of(part)
            if not part.get("urls") and not (
                await self.has(name, digest) and await self._blobs.size(digest) is not None
            ):
                raise Refusal(Code.MANIFEST_BLOB_UNKNOWN, f"push the blob {digest} to {name} first")
        for part in document.get("manifests") or []:
            digest = _digest_of(part)
            if not await self._is(f"{_home(name)}/_manifests/{_digits(digest)}"):
                raise Refusal(Code.MANIFEST_BLOB_UNKNOWN, f"push the manifest {digest} to {name} first")

    # Records

    async def _is(self, place: str) -> bool:
        try:
            await obstore.head_async(self._store, place)
        except FileNotFoundError:
            return False
        return True

    async def _read(self, place: str) -> bytes | None:
        try:
            return bytes(await (await obstore.get_async(self._store, place)).bytes_async())
        except FileNotFoundError:
            return None

    async def _at(self, place: str) -> float:
        try:
            found = await obstore.head_async(self._store, place)
        except FileNotFoundError:
            return 0.0
        return float(found["last_modified"].timestamp())

    async def _write(self, place: str, value: bytes) -> None:
        await obstore.put_async(self._store, place, value)
        await durable.flush(self._store, place)

    async def _erase(self, place: str) -> bool:
        there = await self._is(place)
        with contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, place)
        return there

    async def _names(self, place: str) -> list[str]:
        found = await obstore.list_with_delimiter_async(self._store, place)
        return [str(one["path"]).rpartition("/")[2] for one in found["objects"]]


def _home(name: str) -> str:
    return f"repositories/{name}"


def _digits(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(Code.MANIFEST_INVALID, "the manifest is not JSON") from None
    if not isinstance(document, dict):
        raise Refusal(Code.MANIFEST_INVALID, "the manifest is not a JSON object")
    if document.get("schemaVersion") != 2:
        raise Refusal(Code.MANIFEST_INVALID, "schemaVersion must be 2")
    for name in ("layers", "blobs", "manifests"):
        if not isinstance(document.get(name) or [], list):
            raise Refusal(Code.MANIFEST_INVALID, f"{name} must be a list")
        if any(
            isinstance(part, dict) and type(part.get("size", 0)) is not int
            for part in document.get(name) or []
        ):
            raise Refusal(Code.MANIFEST_INVALID, f"a size in {name} is not a number of bytes")
    return document


def _named_by(document: dict[str, Any]) -> list[str]:
    parts = [document.get("config"), *(document.get("layers") or []), *(document.get("blobs") or [])]
    return [_digest_of(part) for part in (*parts, *(document.get("manifests") or [])) if part]


def _digest_of(part: Any) -> str:
    digest = part.get("digest") if isinstance(part, dict) else None
    if not isinstance(digest, str) or not reference.is_digest(digest):
        raise Refusal(Code.MANIFEST_INVALID, f"{digest!r:.80} is not a sha256 digest")
    return digest


def _descriptor(document: dict[str, Any], kind: str, digest: str, size: int) -> dict[str, Any]:
    config = document.get("config") or {}
    found = {"mediaType": kind, "digest": digest, "size": size}
    if kind_of_artifact := document.get("artifactType") or config.get("mediaType"):
        found["artifactType"] = kind_of_artifact
    if document.get("annotations"):
        found["annotations"] = document["annotations"]
    return found
