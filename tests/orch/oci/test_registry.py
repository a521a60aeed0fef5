"""The client against a registry that misbehaves on purpose."""

import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from orch.oci import manifest, reference
from orch.oci.auth import Credentials
from orch.oci.failure import ImageFailure, Reason
from orch.oci.manifest import Descriptor
from orch.oci.registry import Registry

CONTENT = bytes(range(256)) * 4096
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
BLOB = Descriptor("m", DIGEST, len(CONTENT))


@asynccontextmanager
async def serving(handler: Callable[[web.Request], object]) -> AsyncIterator[str]:
    """A server on the loopback that answers everything with `handler`; its host and port."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_broken_download_goes_on_where_it_stopped() -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Range", "all"))
        start = int(asked[-1].removeprefix("bytes=").rstrip("-")) if asked[-1] != "all" else 0
        answer = web.StreamResponse(status=206 if start else 200)
        answer.content_length = len(CONTENT) - start
        await answer.prepare(request)
        end = len(CONTENT) if len(asked) == 3 else start + 300_000
        await answer.write(CONTENT[start:end])
        if end < len(CONTENT):
            request.transport.close()
        return answer

    async with serving(handler) as host, Registry(plain_http={host}) as registry:
        got = b"".join([chunk async for chunk in registry.blob(reference.parse(f"{host}/web:1"), BLOB)])

    assert got == CONTENT
    assert len(asked) == 3
    assert asked[0] == "all"


async def test_a_registry_that_ignores_ranges_is_read_from_the_start() -> None:
    times = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal times
        times += 1
        answer = web.StreamResponse()
        answer.content_length = len(CONTENT)
        await answer.prepare(request)
        await answer.write(CONTENT[: 300_000 if times == 1 else None])
        if times == 1:
            request.transport.close()
        return answer

    async with serving(handler) as host, Registry(plain_http={host}) as registry:
        got = b"".join([chunk async for chunk in registry.blob(reference.parse(f"{host}/web:1"), BLOB)])

    assert got == CONTENT


async def test_a_blob_longer_than_promised_is_cut_off() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=CONTENT * 3)

    async with serving(handler) as host, Registry(plain_http={host}) as registry:
        with pytest.raises(ImageFailure, match="longer than") as caught:
            async for _ in registry.blob(reference.parse(f"{host}/web:1"), BLOB):
                pass

    assert caught.value.reason is Reason.DIGEST_MISMATCH


async def test_a_token_is_fetched_once_and_sent() -> None:
    body = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()
    seen: list[tuple[str, str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "")
        seen.append((request.path, sent))
        if request.path == "/token":
            assert request.query["scope"] == "repository:web:pull"
            return web.json_response({"token": "t0k3n"})
        if sent != "Bearer t0k3n":
            asked = f'Bearer realm="http://{request.host}/token",service="s",scope="repository:web:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": asked})
        return web.Response(body=body, content_type=manifest.OCI_MANIFEST)

    async with (
        serving(handler) as host,
        Registry(plain_http={host}, credentials=lambda _: Credentials("me", "pw")) as registry,
    ):
        ref = reference.parse(f"{host}/web:1")
        assert (await registry.manifest(ref)).body == body
        await registry.manifest(ref)

    paths = [path for path, _ in seen]
    assert paths.count("/token") == 1
    assert len(paths) == 4
    assert dict(seen)["/token"].startswith("Basic ")


async def test_a_manifest_of_other_bytes_than_its_digest_is_refused() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"{}")

    async with serving(handler) as host, Registry(plain_http={host}) as registry:
        with pytest.raises(ImageFailure) as caught:
            await registry.manifest(reference.parse(f"{host}/web@{DIGEST}"))

    assert caught.value.reason is Reason.DIGEST_MISMATCH


async def test_a_manifest_over_four_mebibytes_is_refused() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(5 << 20))

    async with serving(handler) as host, Registry(plain_http={host}) as registry:
        with pytest.raises(ImageFailure, match="larger than 4 MiB"):
            await registry.manifest(reference.parse(f"{host}/web:1"))


async def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    leaked: list[str] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        leaked.append(request.headers.get("Authorization", ""))
        return web.Response(body=CONTENT)

    async with serving(elsewhere) as other:

        async def handler(request: web.Request) -> web.StreamResponse:
            if not request.headers.get("Authorization"):
                return web.Response(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
            raise web.HTTPTemporaryRedirect(f"http://{other}/blob")

        async with (
            serving(handler) as host,
            Registry(plain_http={host}, credentials=lambda _: Credentials("me", "pw")) as registry,
        ):
            ref = reference.parse(f"{host}/web:1")
            assert b"".join([chunk async for chunk in registry.blob(ref, BLOB)]) == CONTENT

    assert leaked == [""]


async def test_a_busy_registry_is_unreachable_not_a_bad_image() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, text="try later")

    async with serving(handler) as host, Registry(plain_http={host}) as registry:
        with pytest.raises(ImageFailure, match="answered 503") as caught:
            await registry.manifest(reference.parse(f"{host}/web:1"))

    assert caught.value.reason is Reason.REGISTRY_UNREACHABLE


@pytest.mark.parametrize("module", ["orch.oci.reference", "orch.oci.manifest", "orch.oci.registry"])
def test_the_http_library_is_not_loaded_before_it_is_needed(module: str) -> None:
    program = f"import sys; sys.path[:0] = {sys.path!r}; import {module}; sys.exit('aiohttp' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
