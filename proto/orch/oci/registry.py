"""Speaks the OCI distribution protocol: tags, manifests and blobs, down and up.

Plain HTTP is spoken only with the hosts named in `plain_http` ("127.0.0.1:5000", "registry.lan").
aiohttp is imported at the first request: it is large, and most processes never make one.
"""

import hashlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urljoin

from orch.oci import answers, manifest, routes
from orch.oci.asking import Asking
from orch.oci.door import DoorOf
from orch.oci.downloading import Downloads
from orch.oci.failure import ImageFailure, Reason, bad_image
from orch.oci.manifest import Descriptor
from orch.oci.pool import Pool
from orch.oci.reference import CLUSTER, Reference, is_digest
from orch.oci.tokens import CredentialsOf

_ACCEPT = ", ".join((*manifest.MANIFESTS, *manifest.INDEXES))


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest or index as the registry sent it, its digest verified."""

    media_type: str
    digest: str
    body: bytes


class Registry:
    """All registries, behind one connection pool. Close it."""

    def __init__(
        self,
        *,
        plain_http: Collection[str] = (),
        routes_: routes.Routes | None = None,
        credentials: CredentialsOf = lambda _: None,
        door: DoorOf = lambda _: None,
        pool: Pool | None = None,
    ) -> None:
        """`routes_` says all of how registries are reached; `plain_http` is enough for most."""
        self._routes = routes_ or routes.routes(plain_http)
        self._door = door
        self._pool = pool or Pool()
        self._asking = Asking(self._routes, credentials, door, self._pool)
        self._downloads = Downloads(self._asking, self._routes)

    def knowing(self, credentials: CredentialsOf) -> "Registry":
        """The same, for somebody with these credentials; neither sees the other's tokens. Not to be closed."""
        return Registry(routes_=self._routes, credentials=credentials, door=self._door, pool=self._pool)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._pool.close()

    # Down

    async def resolve(self, ref: Reference) -> str:
        """The digest a tag stands for now; costs no download where the registry answers HEAD.

        Whoever names a mirror trusts its word on tags; what a digest stands for nobody has to believe.
        """
        if ref.digest:
            return ref.digest
        for mirror in self._routes.mirrors_of(ref):
            try:
                return await self._resolve_at(mirror)
            except ImageFailure as failure:
                self._routes.failed(mirror, failure)
        return await self._resolve_at(ref)

    async def _resolve_at(self, ref: Reference) -> str:
        async with self._asking.ask(
            "HEAD", ref, f"manifests/{ref.wanted}", headers={"Accept": _ACCEPT}
        ) as answer:
            digest = answer.headers.get("Docker-Content-Digest", "")
            if answer.status == 200 and is_digest(digest):
                return digest
        return (await self._manifest_at(ref)).digest

    async def find(self, ref: Reference) -> str:
        """As `resolve`, for whoever wants to change it; empty when there is no such image yet."""
        what = f"manifests/{ref.wanted}"
        async with self._asking.ask("HEAD", ref, what, pushing=True, headers={"Accept": _ACCEPT}) as answer:
            return answer.headers.get("Docker-Content-Digest", "") if answer.status == 200 else ""

    async def manifest(self, ref: Reference) -> Fetched:
        """The manifest or index of `ref`, at most 4 MiB, its digest verified."""
        for mirror in self._routes.mirrors_of(ref):
            try:
                return await self._manifest_at(mirror)
            except ImageFailure as failure:
                self._routes.failed(mirror, failure)
        return await self._manifest_at(ref)

    async def _manifest_at(self, ref: Reference) -> Fetched:
        async with self._asking.ask(
            "GET", ref, f"manifests/{ref.wanted}", headers={"Accept": _ACCEPT}
        ) as answer:
            if answer.status == 404:
                raise await self._not_found(ref)
            await answers.expect(answer, ref, 200)
            body = await answers.read(answer, manifest.LARGEST_MANIFEST, f"the manifest of {ref.familiar}")
            media_type = answer.headers.get("Content-Type", "")
        digest = _sha256(body)
        if ref.digest and digest != ref.digest:
            raise _mismatch(f"the manifest of {ref.familiar}", ref.digest, digest)
        return Fetched(media_type, digest, body)

    async def small_blob(self, ref: Reference, wanted: Descriptor) -> bytes:
        """A blob that is JSON, such as a configuration: at most 4 MiB, verified."""
        if wanted.size > manifest.LARGEST_MANIFEST:
            raise bad_image(f"the configuration of {ref.familiar} is {wanted.size} bytes; 4 MiB is the limit")
        body = b"".join([chunk async for chunk in self.blob(ref, wanted)])
        if _sha256(body) != wanted.digest and self.comes_from_others(ref):
            body = b"".join([chunk async for chunk in self.blob(ref, wanted, from_origin=True)])
        if _sha256(body) != wanted.digest:
            raise _mismatch(f"a blob of {ref.familiar}", wanted.digest, _sha256(body))
        return body

    def comes_from_others(self, ref: Reference) -> bool:
        """Whether what came may have come from a mirror, or from another node."""
        return ref.registry == CLUSTER or bool(self._routes.mirrors.get(ref.registry))

    def blob(self, ref: Reference, wanted: Descriptor, *, from_origin: bool = False) -> AsyncIterator[bytes]:
        """The bytes of a blob, `wanted.size` of them, which the reader verifies; resumed after a broken connection.

        A reader to whom a mirror or another node lied asks again `from_origin`.
        """
        return self._downloads.blob(ref, wanted, from_origin=from_origin)

    async def tags(self, ref: Reference) -> tuple[str, ...]:
        """The tags of the repository; empty if there is no such repository."""
        async with self._asking.ask("GET", ref, "tags/list") as answer:
            if answer.status != 200:
                return ()
            body = await answers.read(answer, manifest.LARGEST_MANIFEST, f"the tags of {ref.name}")
        listed = json.loads(body).get("tags") or ()
        return tuple(str(tag) for tag in listed)

    # Up

    async def has_blob(self, ref: Reference, digest: str) -> bool:
        async with self._asking.ask("HEAD", ref, f"blobs/{digest}", pushing=True) as answer:
            return answer.status == 200

    async def upload(self, ref: Reference, wanted: Descriptor, content: bytes | AsyncIterable[bytes]) -> None:
        """Puts a blob into the repository, unless it is there."""
        if await self.has_blob(ref, wanted.digest):
            return
        async with self._asking.ask("POST", ref, "blobs/uploads/", pushing=True) as answer:
            await answers.expect(answer, ref, 202)
            place = urljoin(str(answer.url), answer.headers["Location"])
        place += ("&" if "?" in place else "?") + urlencode({"digest": wanted.digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(wanted.size)}
        async with self._asking.ask("PUT", ref, place, pushing=True, headers=headers, data=content) as answer:
            await answers.expect(answer, ref, 201)

    async def mount(self, ref: Reference, digest: str, source: str) -> bool:
        """Takes a blob over from another repository of the same registry; False where that cannot be."""
        question = urlencode({"mount": digest, "from": source})
        async with self._asking.ask("POST", ref, f"blobs/uploads/?{question}", pushing=True) as answer:
            await answers.expect(answer, ref, 201, 202)
            return answer.status == 201

    async def put_manifest(self, ref: Reference, media_type: str, body: bytes) -> str:
        """Gives `body` the name `ref`; answers its digest."""
        headers = {"Content-Type": media_type}
        name = ref.tag or _sha256(body)
        async with self._asking.ask(
            "PUT", ref, f"manifests/{name}", pushing=True, headers=headers, data=body
        ) as answer:
            await answers.expect(answer, ref, 201)
        return _sha256(body)

    async def remove(self, ref: Reference) -> None:
        """Takes a tag away, or a manifest with all its tags."""
        async with self._asking.ask("DELETE", ref, f"manifests/{ref.wanted}", pushing=True) as answer:
            if answer.status == 404:
                raise await self._not_found(ref)
            await answers.expect(answer, ref, 202)

    # What went wrong

    async def _not_found(self, ref: Reference) -> ImageFailure:
        try:
            tags = await self.tags(ref)
        except ImageFailure:
            tags = ()
        known = ", ".join(sorted(tags)[:10]) + (", …" if len(tags) > 10 else "")
        hint = f"tags: {known}" if tags else "there is no such repository"
        return ImageFailure(
            Reason.IMAGE_NOT_FOUND, f"image {ref.familiar} not found in registry {ref.registry} ({hint})"
        )


def _sha256(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _mismatch(what: str, wanted: str, found: str) -> ImageFailure:
    return ImageFailure(Reason.DIGEST_MISMATCH, f"{what} has digest {found}, but {wanted} was asked for")
