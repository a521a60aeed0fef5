"""The OCI distribution API over HTTP: which request means what.

GET, HEAD, PUT, POST, PATCH and DELETE below /v2/, with chunked uploads, mounts between repositories, byte ranges,
tags by page, referrers. Who may do it is asked of `Access` before anything else.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from controlplane.registry.blobs import CHUNK_BYTES, Blobs, Upload
from controlplane.registry.refusal import Code, Refusal
from controlplane.registry.repositories import Manifest, Repositories
from controlplane.registry.swarm import Peer
from orch.oci import manifest, peering, reference

Access = Callable[[web.Request, str, bool], Awaitable[None]]
"""(request, repository or "", does it change something): raises Refusal for a caller who may not."""

Elsewhere = Callable[[web.Request, str, int], Peer | None]
"""(request, digest, bytes): the node that this caller is to get a blob from; None: from us."""

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs|manifests|tags|referrers)/(?P<rest>.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CHUNK = re.compile(r"(?:bytes )?(\d+)-(\d+)(?:/.*)?")
_MOST_TAGS = 1000
RETRY_AFTER_SECONDS = 5


class Registry:
    def __init__(
        self,
        blobs: Blobs,
        repositories: Repositories,
        access: Access,
        elsewhere: Elsewhere = lambda _request, _digest, _size: None,
    ) -> None:
        self._blobs = blobs
        self._repositories = repositories
        self._access = access
        self._elsewhere = elsewhere
        self.sent_bytes = 0
        """Of blobs, to whoever pulled."""

    def application(self) -> web.Application:
        application = web.Application(client_max_size=manifest.LARGEST_MANIFEST)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._dispatch(request)
        except Refusal as refusal:
            headers = {"Docker-Distribution-Api-Version": "registry/2.0"}
            if refusal.code is Code.UNAUTHORIZED:
                headers["WWW-Authenticate"] = 'Basic realm="orch"'
            if refusal.code is Code.TOO_MANY:
                headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
            return web.Response(
                status=refusal.status, body=refusal.body(), content_type="application/json", headers=headers
            )

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if request.path in {"/v2", "/v2/"}:
            await self._access(request, "", False)
            return web.json_response({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})
        found = _PATH.fullmatch(request.path)
        if not found:
            raise Refusal(Code.UNSUPPORTED, f"{request.path} is not part of the distribution API")
        name, kind, rest = found.group("name", "kind", "rest")
        if not reference.is_repository(name):
            raise Refusal(Code.NAME_INVALID, f"{name} is not the name of a repository")
        await self._access(request, name, request.method not in {"GET", "HEAD"})
        match kind, request.method:
            case "tags", "GET" if rest == "list":
                return await self._list_tags(request, name)
            case "referrers", "GET":
                return await self._list_referrers(request, name, _digest(rest))
            case "manifests", _:
                return await self._manifest(request, name, rest)
            case "blobs", _ if rest == "uploads" or rest.startswith("uploads/"):
                return await self._upload(request, name, rest.removeprefix("uploads").strip("/"))
            case "blobs", "GET" | "HEAD":
                return await self._send_blob(request, name, _digest(rest))
            case "blobs", "DELETE":
                await self._repositories.unlink(name, _digest(rest))
                return web.Response(status=202)
        raise Refusal(Code.UNSUPPORTED, f"{request.method} is not possible on {kind}")

    # -- manifests -------------------------------------------------------------------------------------

    async def _manifest(self, request: web.Request, name: str, wanted: str) -> web.StreamResponse:
        if not (reference.is_digest(wanted) or reference.is_tag(wanted)):
            raise Refusal(Code.MANIFEST_INVALID, f"{wanted} is neither a tag nor a sha256 digest")
        match request.method:
            case "GET" | "HEAD":
                found = await self._repositories.manifest(name, wanted)
                body = found.body if request.method == "GET" else None
                return web.Response(body=body, headers=_headers(found))
            case "PUT":
                body = await self._body(request)
                kind = request.headers.get("Content-Type", "").partition(";")[0].strip()
                put = await self._repositories.put(name, wanted, kind, body)
                headers = {
                    "Location": f"/v2/{name}/manifests/{put.digest}",
                    "Docker-Content-Digest": put.digest,
                }
                if put.subject:
                    headers["OCI-Subject"] = put.subject
                return web.Response(status=201, headers=headers)
            case "DELETE":
                await self._repositories.remove(name, wanted)
                return web.Response(status=202)
        raise Refusal(Code.UNSUPPORTED, f"{request.method} is not possible on manifests")

    async def _body(self, request: web.Request) -> bytes:
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refusal(Code.SIZE_INVALID, "a manifest has at most 4 MiB") from None

    async def _list_tags(self, request: web.Request, name: str) -> web.StreamResponse:
        tags = await self._repositories.tags(name)
        if not tags and not await self._repositories.manifests(name):
            raise Refusal(Code.NAME_UNKNOWN, f"there is no repository {name}")
        last = request.query.get("last", "")
        count = min(_number(request.query.get("n", ""), _MOST_TAGS), _MOST_TAGS)
        rest = [tag for tag in tags if tag > last]
        headers = {}
        if len(rest) > count > 0:
            following = urlencode({"n": count, "last": rest[count - 1]})
            headers["Link"] = f'</v2/{name}/tags/list?{following}>; rel="next"'
        return web.json_response({"name": name, "tags": rest[:count]}, headers=headers)

    async def _list_referrers(self, request: web.Request, name: str, digest: str) -> web.StreamResponse:
        found = await self._repositories.referrers(name, digest)
        headers = {}
        if wanted := request.query.get("artifactType"):
            found = [one for one in found if one.get("artifactType") == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        index = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": found}
        return web.Response(
            body=json.dumps(index).encode(), headers={"Content-Type": manifest.OCI_INDEX, **headers}
        )

    # -- blobs -----------------------------------------------------------------------------------------

    async def _send_blob(self, request: web.Request, name: str, digest: str) -> web.StreamResponse:
        size = await self._blobs.size(digest) if await self._repositories.has(name, digest) else None
        if size is None:
            raise Refusal(Code.BLOB_UNKNOWN, f"{name} has no blob {digest}")
        if request.method == "HEAD":  # so asks who is about to name it
            await self._repositories.condemned.spare(digest)
        start, end = _wanted_range(request.headers.get("Range", ""), size)
        if request.method == "GET" and (peer := self._elsewhere(request, digest, size)):
            place = f"https://{peer.address}/v2/{name}/blobs/{digest}"
            return web.Response(status=307, headers={"Location": place, peering.PEER: peer.name})
        response = web.StreamResponse(status=200 if (start, end) == (0, size) else 206)
        response.content_type = "application/octet-stream"
        response.content_length = end - start
        response.headers["Docker-Content-Digest"] = digest
        response.headers["Accept-Ranges"] = "bytes"
        response.headers["ETag"] = f'"{digest}"'
        if response.status == 206:
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        await response.prepare(request)
        if request.method == "GET":
            async for chunk in self._blobs.read(digest, start, end):
                await response.write(chunk)
                self.sent_bytes += len(chunk)
        await response.write_eof()
        return response

    async def _upload(self, request: web.Request, name: str, identity: str) -> web.StreamResponse:
        if not identity:
            if request.method != "POST":
                raise Refusal(Code.UNSUPPORTED, "an upload begins with POST")
            return await self._begin(request, name)
        upload = self._blobs.upload(name, identity)
        match request.method:
            case "GET":
                return web.Response(status=204, headers=_progress(upload))
            case "DELETE":
                async with upload.turn:
                    await self._blobs.cancel(self._blobs.upload(name, identity))
                return web.Response(status=204)
            case "PATCH":
                async with upload.turn:
                    await self._append(request, self._blobs.upload(name, identity))
                return web.Response(status=202, headers=_progress(upload))
            case "PUT":
                async with upload.turn:
                    await self._append(request, self._blobs.upload(name, identity))
                    return await self._finish(upload, _digest(request.query.get("digest", "")))
        raise Refusal(Code.UNSUPPORTED, f"{request.method} is not possible on uploads")

    async def _begin(self, request: web.Request, name: str) -> web.StreamResponse:
        mounted, source = request.query.get("mount", ""), request.query.get("from", "")
        if mounted and reference.is_digest(mounted) and await self._may_mount(request, source, mounted):
            await self._repositories.link(name, mounted)
            return web.Response(status=201, headers=_created(name, mounted))
        if "digest" not in request.query:
            return web.Response(status=202, headers=_progress(await self._blobs.begin(name)))
        digest = _digest(request.query["digest"])
        upload = await self._blobs.begin(name)
        try:
            await self._append(request, upload)
        except BaseException:  # nobody knows its address: it cannot be taken up again
            await self._blobs.cancel(upload)
            raise
        return await self._finish(upload, digest)

    async def _may_mount(self, request: web.Request, source: str, digest: str) -> bool:
        if not source or not reference.is_repository(source):
            return False
        await self._access(request, source, False)
        return await self._repositories.has(source, digest) and await self._blobs.size(digest) is not None

    async def _append(self, request: web.Request, upload: Upload) -> None:
        chunk = _CHUNK.fullmatch(request.headers.get("Content-Range", ""))
        if chunk and int(chunk.group(1)) != upload.size:
            raise Refusal(Code.BLOB_UPLOAD_INVALID, f"the next byte is {upload.size}, not {chunk.group(1)}")
        await self._blobs.append(upload, _chunks(request))

    async def _finish(self, upload: Upload, digest: str) -> web.StreamResponse:
        await self._blobs.finish(upload, digest)
        await self._repositories.link(upload.repository, digest)
        return web.Response(status=201, headers=_created(upload.repository, digest))


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(CHUNK_BYTES):
        yield chunk


def _wanted_range(text: str, size: int) -> tuple[int, int]:
    """From where up to where; one range is enough for whoever resumes a download."""
    found = _RANGE.fullmatch(text)
    if not found:
        return 0, size
    start = int(found.group(1))
    if start >= size:
        raise Refusal(Code.BLOB_UPLOAD_INVALID, f"the blob has {size} bytes")
    last = int(found.group(2)) if found.group(2) else size - 1
    return start, min(last + 1, size)


def _headers(found: Manifest) -> dict[str, Any]:
    return {
        "Content-Type": found.media_type,
        "Content-Length": str(len(found.body)),
        "Docker-Content-Digest": found.digest,
        "ETag": f'"{found.digest}"',
    }


def _progress(upload: Upload) -> dict[str, str]:
    return {
        "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
        "Range": f"0-{max(upload.size - 1, 0)}",
        "Docker-Upload-UUID": upload.id,
    }


def _created(name: str, digest: str) -> dict[str, str]:
    return {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}


def _digest(text: str) -> str:
    if not reference.is_digest(text):
        raise Refusal(Code.DIGEST_INVALID, f"{text:.80} is not a sha256 digest")
    return text


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isdecimal() else otherwise
