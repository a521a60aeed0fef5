"""Speaks the OCI distribution protocol: tags, manifests and blobs, down and up.

Plain HTTP is spoken only with the hosts named in `plain_http` ("127.0.0.1:5000", "registry.lan").
aiohttp is imported at the first request: it is large, and most processes never make one.
"""

import asyncio
import contextlib
import hashlib
import importlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode, urljoin

from orch.oci import auth, manifest, routes
from orch.oci.failure import ImageFailure, Reason, bad_image
from orch.oci.manifest import Descriptor
from orch.oci.reaching import Reaching
from orch.oci.reference import CLUSTER, DOCKER_HUB, Reference, is_digest

if TYPE_CHECKING:
    import ssl

    import aiohttp

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 30.0
"""A registry that sends nothing for this long is taken for dead."""

ATTEMPTS = 4
"""How often a broken download is taken up again where it stopped."""

_CHUNK = 1 << 18
_ACCEPT = ", ".join((*manifest.MANIFESTS, *manifest.INDEXES))

CredentialsOf = Callable[[str], auth.Credentials | None]


@dataclass(frozen=True, slots=True)
class Door:
    """Another way to a registry than its name."""

    address: str
    """host:port."""
    tls: "ssl.SSLContext"
    server_name: str
    """That its certificate must show."""
    authorization: str = ""
    """Sent with every request, where it is not empty."""


DoorOf = Callable[[str], Door | None]
"""By the registry's name; None: go by the name."""


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
        pool: "Pool | None" = None,
    ) -> None:
        """`routes_` says all of how registries are reached; `plain_http` is enough for most."""
        self._routes = routes_ or routes.routes(plain_http)
        self._credentials = credentials
        self._door = door
        self._pool = pool or Pool()
        self._answers: dict[tuple[str, str, str], str] = {}
        self._answering = asyncio.Lock()

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
        async with self._ask("HEAD", ref, f"manifests/{ref.wanted}", headers={"Accept": _ACCEPT}) as answer:
            digest = answer.headers.get("Docker-Content-Digest", "")
            if answer.status == 200 and is_digest(digest):
                return digest
        return (await self._manifest_at(ref)).digest

    async def find(self, ref: Reference) -> str:
        """As `resolve`, for whoever wants to change it; empty when there is no such image yet."""
        what = f"manifests/{ref.wanted}"
        async with self._ask("HEAD", ref, what, pushing=True, headers={"Accept": _ACCEPT}) as answer:
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
        async with self._ask("GET", ref, f"manifests/{ref.wanted}", headers={"Accept": _ACCEPT}) as answer:
            if answer.status == 404:
                raise await self._not_found(ref)
            await self._expect(answer, ref, 200)
            body = await _read(answer, manifest.LARGEST_MANIFEST, f"the manifest of {ref.familiar}")
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
        if _sha256(body) != wanted.digest and self.has_mirrors(ref):
            body = b"".join([chunk async for chunk in self.blob(ref, wanted, from_origin=True)])
        if _sha256(body) != wanted.digest:
            raise _mismatch(f"a blob of {ref.familiar}", wanted.digest, _sha256(body))
        return body

    def has_mirrors(self, ref: Reference) -> bool:
        """Whether what came may have come from a mirror."""
        return bool(self._routes.mirrors.get(ref.registry))

    async def blob(
        self, ref: Reference, wanted: Descriptor, *, from_origin: bool = False
    ) -> AsyncIterator[bytes]:
        """The bytes of a blob, `wanted.size` of them; resumed after a broken connection.

        The digest is for the reader to verify: only it sees all bytes in order. What a mirror began the
        registry itself goes on with; a reader to whom a mirror lied asks again `from_origin`.
        """
        received = 0
        for mirror in () if from_origin else self._routes.mirrors_of(ref):
            with contextlib.suppress(_MirrorFailed):
                async for chunk in self._blob_of_mirror(mirror, wanted, received):
                    received += len(chunk)
                    if received > wanted.size:
                        raise _too_long(mirror, wanted)
                    yield chunk
            if received == wanted.size:
                return
        for attempt in range(1, ATTEMPTS + 1):
            before = received
            try:
                async for chunk in self._blob_from(ref, wanted, received):
                    received += len(chunk)
                    if received > wanted.size:
                        raise _too_long(ref, wanted)
                    yield chunk
            except ImageFailure as failure:
                broken_midway = failure.reason is Reason.REGISTRY_UNREACHABLE and received > before
                if not broken_midway or attempt == ATTEMPTS:
                    raise
            if received == wanted.size:
                return
        raise ImageFailure(
            Reason.REGISTRY_UNREACHABLE,
            f"registry {ref.registry} sent {received} of {wanted.size} bytes of {wanted.digest} and stopped",
        )

    async def _blob_of_mirror(
        self, mirror: Reference, wanted: Descriptor, start: int
    ) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._blob_from(mirror, wanted, start):
                yield chunk
        except ImageFailure as failure:
            self._routes.failed(mirror, failure)
            raise _MirrorFailed from failure

    async def _blob_from(self, ref: Reference, wanted: Descriptor, start: int) -> AsyncIterator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        async with self._ask("GET", ref, f"blobs/{wanted.digest}", headers=headers) as answer:
            if answer.status == 404:
                raise bad_image(
                    f"registry {ref.registry} has {ref.familiar} but not its part {wanted.digest}"
                )
            skip = start if answer.status == 200 else 0
            await self._expect(answer, ref, 200, 206)
            async for chunk in answer.content.iter_chunked(_CHUNK):
                if skip < len(chunk):
                    yield chunk[skip:] if skip else chunk
                skip = max(0, skip - len(chunk))

    async def tags(self, ref: Reference) -> tuple[str, ...]:
        """The tags of the repository; empty if there is no such repository."""
        async with self._ask("GET", ref, "tags/list") as answer:
            if answer.status != 200:
                return ()
            body = await _read(answer, manifest.LARGEST_MANIFEST, f"the tags of {ref.name}")
        listed = json.loads(body).get("tags") or ()
        return tuple(str(tag) for tag in listed)

    # Up

    async def has_blob(self, ref: Reference, digest: str) -> bool:
        async with self._ask("HEAD", ref, f"blobs/{digest}", pushing=True) as answer:
            return answer.status == 200

    async def upload(self, ref: Reference, wanted: Descriptor, content: bytes | AsyncIterable[bytes]) -> None:
        """Puts a blob into the repository, unless it is there."""
        if await self.has_blob(ref, wanted.digest):
            return
        async with self._ask("POST", ref, "blobs/uploads/", pushing=True) as answer:
            await self._expect(answer, ref, 202)
            place = urljoin(str(answer.url), answer.headers["Location"])
        place += ("&" if "?" in place else "?") + urlencode({"digest": wanted.digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(wanted.size)}
        async with self._ask("PUT", ref, place, pushing=True, headers=headers, data=content) as answer:
            await self._expect(answer, ref, 201)

    async def mount(self, ref: Reference, digest: str, source: str) -> bool:
        """Takes a blob over from another repository of the same registry; False where that cannot be."""
        question = urlencode({"mount": digest, "from": source})
        async with self._ask("POST", ref, f"blobs/uploads/?{question}", pushing=True) as answer:
            await self._expect(answer, ref, 201, 202)
            return answer.status == 201

    async def put_manifest(self, ref: Reference, media_type: str, body: bytes) -> str:
        """Gives `body` the name `ref`; answers its digest."""
        headers = {"Content-Type": media_type}
        name = ref.tag or _sha256(body)
        async with self._ask(
            "PUT", ref, f"manifests/{name}", pushing=True, headers=headers, data=body
        ) as answer:
            await self._expect(answer, ref, 201)
        return _sha256(body)

    async def remove(self, ref: Reference) -> None:
        """Takes a tag away, or a manifest with all its tags."""
        async with self._ask("DELETE", ref, f"manifests/{ref.wanted}", pushing=True) as answer:
            if answer.status == 404:
                raise await self._not_found(ref)
            await self._expect(answer, ref, 202)

    # One request

    @asynccontextmanager
    async def _ask(
        self,
        method: str,
        ref: Reference,
        what: str,
        *,
        pushing: bool = False,
        headers: dict[str, str] | None = None,
        data: Any = None,
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        """One request; a challenge is answered once."""
        session = await self._pool.opened()
        door = self._door(ref.registry)
        if door is None and ref.registry == CLUSTER:
            raise ImageFailure(
                Reason.REGISTRY_UNREACHABLE, "the cluster's own registry is not known here (yet)"
            )
        base = f"https://{door.address}" if door else self._base(ref.registry)
        url = what if "://" in what else f"{base}/v2/{ref.repository}/{what}"
        way = self._way(ref.registry, door)
        key = (ref.registry, ref.repository, "pull,push" if pushing else "pull")
        sent = dict(headers or {})
        if key in self._answers:
            sent["Authorization"] = self._answers[key]
        if door and door.authorization:
            sent["Authorization"] = door.authorization
        with Reaching(ref.registry):
            answer = await session.request(method, url, headers=sent, data=data, **way)
            if answer.status == 401:
                challenges = answer.headers.getall("WWW-Authenticate", [])
                answer.release()
                sent["Authorization"] = await self._answer_anew(
                    challenges, ref, key, sent.get("Authorization")
                )
                answer = await session.request(method, url, headers=sent, data=data, **way)
            async with answer:
                if answer.status in {401, 403}:
                    self._answers.pop(key, None)
                    raise self._unauthorized(ref)
                yield answer

    def _way(self, registry: str, door: Door | None) -> dict[str, Any]:
        if door:
            return {"ssl": door.tls, "server_hostname": door.server_name}
        tls = self._routes.tls(registry)
        return {"ssl": tls} if tls else {}

    async def _answer_anew(
        self, challenges: Sequence[str], ref: Reference, key: tuple[str, str, str], refused: str | None
    ) -> str:
        """What to send in place of what was refused: a token that has ended is fetched anew, once for all."""
        async with self._answering:
            known = self._answers.get(key)
            if known is None or known == refused:
                known = self._answers[key] = await self._answer_to(challenges, ref, key[2])
            return known

    async def _answer_to(self, challenges: Sequence[str], ref: Reference, actions: str) -> str:
        credentials = self._credentials(ref.registry)
        match auth.challenge(challenges):
            case auth.Basic() if credentials:
                return credentials.basic()
            case auth.Bearer() as bearer:
                if bearer.realm.startswith("http://") and ref.registry not in self._routes.plain_http:
                    raise bad_image(
                        f"registry {ref.registry} wants credentials sent to {bearer.realm} in clear: refused"
                    )
                return "Bearer " + await self._token(bearer, credentials, ref, actions)
            case _:
                raise self._unauthorized(ref)

    async def _token(
        self, bearer: auth.Bearer, credentials: auth.Credentials | None, ref: Reference, actions: str
    ) -> str:
        session = await self._pool.opened()
        scope = f"repository:{ref.repository}:{actions}"
        host = bearer.realm.partition("://")[2].partition("/")[0]
        way = self._way(host if host in self._routes.authorities else ref.registry, None)
        with Reaching(host):
            if credentials and credentials.identity_token:
                form = bearer.form(scope, credentials.identity_token)
                asking = session.post(bearer.realm, data=form, **way)
            else:
                headers = {"Authorization": credentials.basic()} if credentials else {}
                asking = session.get(bearer.url(scope), headers=headers, **way)
            async with asking as answer:
                if answer.status == 429 or answer.status >= 500:
                    await self._expect(answer, ref, 200)
                if answer.status != 200:
                    raise self._unauthorized(ref)
                said = _object(await _read(answer, 1 << 20, "the registry's token"))
        token = said.get("token") or said.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise bad_image(f"registry {ref.registry} answered without a token")
        return token

    def _base(self, registry: str) -> str:
        host = "registry-1.docker.io" if registry == DOCKER_HUB else registry
        return f"{'http' if registry in self._routes.plain_http else 'https'}://{host}"

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

    def _unauthorized(self, ref: Reference) -> ImageFailure:
        known = self._credentials(ref.registry) is not None
        hint = "check its user and password" if known else "it wants credentials, or there is no such image"
        return ImageFailure(
            Reason.UNAUTHORIZED, f"registry {ref.registry} refuses access to {ref.familiar}: {hint}"
        )

    async def _expect(self, answer: "aiohttp.ClientResponse", ref: Reference, *wanted: int) -> None:
        if answer.status in wanted:
            return
        text = (await answer.content.read(300)).decode(errors="replace").strip()
        busy = answer.status == 429 or answer.status >= 500
        raise ImageFailure(
            Reason.REGISTRY_UNREACHABLE if busy else Reason.BAD_IMAGE,
            f"registry {ref.registry} answered {answer.status} for {ref.familiar}: {text or answer.reason}",
        )


class Pool:
    """One pool of connections, opened when it is needed."""

    def __init__(self, connect_seconds: float = CONNECT_SECONDS) -> None:
        self._connect_seconds = connect_seconds
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    async def opened(self) -> "aiohttp.ClientSession":
        async with self._opening:
            if self._session is None:
                # 0.2 s of import belong into a thread: the caller's loop has heartbeats to send.
                aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
                limits = aiohttp.ClientTimeout(
                    total=None, sock_connect=self._connect_seconds, sock_read=SILENCE_SECONDS
                )
                self._session = aiohttp.ClientSession(
                    timeout=limits, auto_decompress=False, read_bufsize=_CHUNK, headers={"User-Agent": "orch"}
                )
            return self._session


class _MirrorFailed(Exception):
    """It did not help."""


async def _read(answer: "aiohttp.ClientResponse", most: int, what: str) -> bytes:
    parts, size = [], 0
    async for chunk in answer.content.iter_chunked(_CHUNK):
        size += len(chunk)
        if size > most:
            raise bad_image(f"{what} is larger than {most >> 20} MiB")
        parts.append(chunk)
    return b"".join(parts)


def _object(body: bytes) -> dict[str, Any]:
    """Empty where it is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _sha256(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _mismatch(what: str, wanted: str, found: str) -> ImageFailure:
    return ImageFailure(Reason.DIGEST_MISMATCH, f"{what} has digest {found}, but {wanted} was asked for")


def _too_long(ref: Reference, wanted: Descriptor) -> ImageFailure:
    return ImageFailure(
        Reason.DIGEST_MISMATCH,
        f"{wanted.digest} of {ref.familiar} is longer than the {wanted.size} bytes promised",
    )
