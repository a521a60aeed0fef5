"""Tokens that end, authorities of one's own, mirrors that help, fail and lie."""

import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from orch.oci import manifest, reference, routes
from orch.oci.auth import Credentials
from orch.oci.failure import ImageFailure, Reason
from orch.oci.manifest import Descriptor
from orch.oci.registry import Registry
from tests.support.certificates import Authority, Files

BODY = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()
BODY_DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
CONTENT = bytes(range(256)) * 64
BLOB = Descriptor("m", "sha256:" + hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@asynccontextmanager
async def serving(handler: Callable[[web.Request], object], tls: Files | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.cert, tls.key)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def honest(request: web.Request) -> web.StreamResponse:
    if "/blobs/" in request.path:
        return web.Response(body=CONTENT)
    return web.Response(body=BODY, content_type=manifest.OCI_MANIFEST)


async def content(registry: Registry, text: str, **how: bool) -> bytes:
    return b"".join([chunk async for chunk in registry.blob(reference.parse(text), BLOB, **how)])


def over(host: str, *mirrors: str) -> Registry:
    return Registry(routes_=routes.routes({host, *mirrors}, mirrors=[(host, each) for each in mirrors]))


class TokenServer:
    """Gives tokens that are good for a few requests; keeps what it was asked."""

    def __init__(self, good_for: int) -> None:
        self.asked: list[web.Request] = []
        self.posted: dict[str, str] = {}
        self._good_for = good_for
        self._left = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            self.asked.append(request)
            if request.method == "POST":
                self.posted = {key: str(value) for key, value in (await request.post()).items()}
            elif request.headers.get("Authorization") != Credentials("me", "pw").basic():
                return web.Response(status=401)
            self._left = self._good_for
            return web.json_response({"access_token": f"t{len(self.asked)}"})
        if request.headers.get("Authorization") != f"Bearer t{len(self.asked)}" or self._left == 0:
            asked = f'Bearer realm="http://{request.host}/token",service="s",scope="repository:web:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": asked})
        self._left -= 1
        return await honest(request)


async def test_a_token_that_ends_amid_a_pull_is_fetched_anew() -> None:
    server = TokenServer(good_for=2)
    async with (
        serving(server.answer) as host,
        Registry(plain_http={host}, credentials=lambda _: Credentials("me", "pw")) as registry,
    ):
        await registry.manifest(reference.parse(f"{host}/web:1"))
        for _ in range(3):
            assert await content(registry, f"{host}/web:1") == CONTENT

    assert len(server.asked) == 2


async def test_an_identity_token_is_traded_for_a_token() -> None:
    server = TokenServer(good_for=9)
    async with (
        serving(server.answer) as host,
        Registry(plain_http={host}, credentials=lambda _: Credentials("<token>", "", "refresh")) as registry,
    ):
        await registry.manifest(reference.parse(f"{host}/web:1"))

    assert server.posted["grant_type"] == "refresh_token"
    assert server.posted["refresh_token"] == "refresh"
    assert server.posted["scope"] == "repository:web:pull"


async def test_nobody_uses_the_token_of_somebody_else() -> None:
    async with serving(TokenServer(good_for=9).answer) as host, Registry(plain_http={host}) as registry:
        ref = reference.parse(f"{host}/web:1")
        await registry.knowing(lambda _: Credentials("me", "pw")).manifest(ref)

        with pytest.raises(ImageFailure, match="check its user and password") as caught:
            await registry.knowing(lambda _: Credentials("me", "guess")).manifest(ref)
        with pytest.raises(ImageFailure, match="wants credentials"):
            await registry.manifest(ref)

    assert caught.value.reason is Reason.UNAUTHORIZED


async def test_credentials_are_not_sent_in_clear_because_a_registry_says_so(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def tricky(_request: web.Request) -> web.StreamResponse:
        asked = 'Bearer realm="http://127.0.0.1:1/token",service="s"'
        return web.Response(status=401, headers={"WWW-Authenticate": asked})

    async with serving(tricky, authority.issue("registry")) as host:
        reached = routes.routes(authorities={host: authority.file})
        async with Registry(routes_=reached, credentials=lambda _: Credentials("me", "pw")) as registry:
            with pytest.raises(ImageFailure, match="in clear: refused"):
                await registry.manifest(reference.parse(f"{host}/web:1"))


async def test_a_private_authority_is_trusted_for_its_registry_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(honest, authority.issue("one")) as one, serving(honest, authority.issue("two")) as two:
        reached = routes.routes(authorities={one: authority.file})
        async with Registry(routes_=reached) as registry:
            assert (await registry.manifest(reference.parse(f"{one}/web:1"))).body == BODY
            with pytest.raises(ImageFailure, match="certificate that is not trusted"):
                await registry.manifest(reference.parse(f"{two}/web:1"))


async def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    reached = routes.routes(authorities={"r.lan": tmp_path / "gone.pem"})
    async with Registry(routes_=reached) as registry:
        with pytest.raises(ImageFailure, match=r"gone\.pem"):
            await registry.manifest(reference.parse("r.lan/web:1"))


async def test_a_mirror_is_asked_first() -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        raise AssertionError(request.path)

    async with serving(never) as origin, serving(honest) as mirror, over(origin, mirror) as registry:
        assert (await registry.manifest(reference.parse(f"{origin}/web:1"))).digest == BODY_DIGEST
        assert await content(registry, f"{origin}/web:1") == CONTENT
        assert await registry.resolve(reference.parse(f"{origin}/web:1")) == BODY_DIGEST


async def test_without_the_mirror_the_registry_itself_is_asked_and_the_mirror_left_alone() -> None:
    asked = 0

    async def broken(_request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.Response(status=503)

    async with serving(honest) as origin, serving(broken) as mirror, over(origin, mirror) as registry:
        assert (await registry.manifest(reference.parse(f"{origin}/web:1"))).body == BODY
        assert await content(registry, f"{origin}/web:1") == CONTENT

    assert asked == 1


async def test_a_mirror_that_breaks_off_is_gone_on_from_by_the_registry() -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.content_length = len(CONTENT)
        await answer.prepare(request)
        await answer.write(CONTENT[:5000])
        request.transport.close()
        return answer

    async with serving(honest) as origin, serving(half) as mirror, over(origin, mirror) as registry:
        assert await content(registry, f"{origin}/web:1") == CONTENT


async def test_a_mirror_that_lies_about_a_digest_is_not_believed() -> None:
    async def liar(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * len(CONTENT))

    async with serving(honest) as origin, serving(liar) as mirror, over(origin, mirror) as registry:
        ref = reference.parse(f"{origin}/web@{BODY_DIGEST}")
        assert (await registry.manifest(ref)).body == BODY
        assert await registry.small_blob(ref, BLOB) == CONTENT


async def test_what_may_be_plain_is_tried_with_tls_first() -> None:
    async with serving(honest) as host:
        ways = routes.routes(perhaps_plain={host})
        async with Registry(routes_=ways) as registry:
            assert await content(registry, f"{host}/a:1") == CONTENT
        assert ways.is_plain(host)


async def test_what_may_be_plain_and_speaks_tls_is_never_spoken_to_in_clear(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("registry")
    async with serving(honest, files) as host:
        ways = routes.routes(perhaps_plain={host})
        async with Registry(routes_=ways) as registry:
            with pytest.raises(ImageFailure, match="not trusted"):
                await content(registry, f"{host}/a:1")
        assert not ways.is_plain(host)


async def test_what_nobody_allowed_is_not_spoken_to_in_clear() -> None:
    async with serving(honest) as host, Registry() as registry:
        with pytest.raises(ImageFailure, match=f"--plain-http {host}"):
            await content(registry, f"{host}/a:1")


async def test_a_registry_that_has_too_much_to_do_is_asked_again_when_it_says() -> None:
    asked = []

    async def busy(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if len(asked) < 3:
            return web.Response(status=429, headers={"Retry-After": "0"})
        return await honest(request)

    async with serving(busy) as host, over(host) as registry:
        assert await content(registry, f"{host}/a:1") == CONTENT

    assert len(asked) == 3


async def test_a_registry_that_says_hours_is_not_waited_for() -> None:
    async def busy(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "21600"}, text="pull rate limit")

    async with serving(busy) as host, over(host) as registry:
        with pytest.raises(ImageFailure, match=r"429.*pull rate limit"):
            await content(registry, f"{host}/a:1")
