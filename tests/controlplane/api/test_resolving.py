"""Tags become digests at apply; a registry that does not answer holds nobody up."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from controlplane.api.resolving import Resolver
from controlplane.cluster import editing, snapshot
from controlplane.loop.clock import SystemClock
from orch.manifest import document
from orch.model.config import Secret
from orch.model.container import ContainerSpec, PullPolicy
from orch.model.names import ObjectName
from orch.model.service import Service, ServiceSpec, TaskTemplate
from orch.oci.auth import Credentials
from orch.oci.pool import Pool
from orch.oci.registry import Registry

NAME = ObjectName("default", "web")


class Tags:
    """A registry that only knows tags; they can be moved."""

    def __init__(self, password: str = "") -> None:
        self.asked = 0
        self.stands_for = "first"
        self.hangs = False
        self._password = password

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.stands_for.encode()).hexdigest()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        wanted = Credentials("ci", self._password).basic()
        if self._password and request.headers.get("Authorization") != wanted:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
        if "/web/" not in request.path:
            return web.Response(status=404)
        return web.Response(headers={"Docker-Content-Digest": self.digest})


@asynccontextmanager
async def resolving(tags: Tags, within: float = 10.0) -> AsyncIterator[tuple[str, Resolver]]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", tags.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with Registry(plain_http={host}) as registry:
            yield host, Resolver(registry, within, lambda _: {}, SystemClock())
    finally:
        await runner.cleanup()


def written(*images: str, policy: PullPolicy = PullPolicy.IF_NOT_PRESENT) -> document.Written:
    containers = tuple(
        ContainerSpec(name=f"c{number}", image=image, pull_policy=policy)
        for number, image in enumerate(images)
    )
    spec = ServiceSpec(template=TaskTemplate(containers=containers))
    return document.Written("web.yaml:1", document.ServiceDocument(NAME, spec))


def images(documents: list[document.Written]) -> list[str]:
    (one,) = (each.value for each in documents if isinstance(each.value, document.ServiceDocument))
    return [each.image for each in one.spec.template.containers]


def running(documents: list[document.Written]) -> snapshot.Cluster:
    (one,) = (each.value for each in documents if isinstance(each.value, document.ServiceDocument))
    return editing.with_service(snapshot.Cluster(), Service(NAME, one.spec))


async def test_every_tag_becomes_a_digest_and_is_asked_for_once() -> None:
    tags = Tags()
    async with resolving(tags) as (host, resolver):
        given = written(f"{host}/web:1", f"{host}/web:1", f"{host}/web", f"{host}/web@{tags.digest}")

        found, warnings = await resolver.resolved([given], snapshot.Cluster())

    one = f"{host}/web:1@{tags.digest}"
    assert images(found) == [one, one, f"{host}/web:latest@{tags.digest}", f"{host}/web@{tags.digest}"]
    assert (warnings, tags.asked) == ([], 2)


async def test_a_tag_that_has_moved_is_another_image_at_the_next_apply() -> None:
    tags = Tags()
    async with resolving(tags) as (host, resolver):
        before, _ = await resolver.resolved([written(f"{host}/web:1")], snapshot.Cluster())
        tags.stands_for = "second"
        after, _ = await resolver.resolved([written(f"{host}/web:1")], running(before))

    assert images(before) != images(after) == [f"{host}/web:1@{tags.digest}"]


async def test_without_an_answer_a_service_keeps_the_digest_it_has() -> None:
    tags = Tags()
    async with resolving(tags, within=0.2) as (host, resolver):
        resolver.within = 10.0
        before, _ = await resolver.resolved([written(f"{host}/web:1")], snapshot.Cluster())
        resolver.within, tags.hangs = 0.2, True

        after, (warning,) = await resolver.resolved([written(f"{host}/web:1")], running(before))

    assert images(after) == images(before)
    assert "keeps the digest it has" in warning
    assert "did not answer within 0.2 s" in warning


async def test_without_an_answer_a_new_service_keeps_the_tag_and_the_next_apply_does_not_wait() -> None:
    tags = Tags()
    tags.hangs = True
    async with resolving(tags, within=0.2) as (host, resolver):
        found, (warning,) = await resolver.resolved([written(f"{host}/web:1")], snapshot.Cluster())
        resolver.within = 60.0
        again, warnings = await resolver.resolved([written(f"{host}/web:1")], snapshot.Cluster())

    assert images(found) == images(again) == [f"{host}/web:1"]
    assert warning == warnings[0]
    assert f"web.yaml:1: image {host}/web:1 stays a tag" in warning
    assert tags.asked == 1


async def test_an_image_that_is_not_there_is_said_and_left_to_the_rollout() -> None:
    async with resolving(Tags()) as (host, resolver):
        found, (warning,) = await resolver.resolved([written(f"{host}/wep:1")], snapshot.Cluster())

    assert images(found) == [f"{host}/wep:1"]
    assert "not found in registry" in warning


async def test_what_is_never_pulled_is_not_asked_for() -> None:
    tags = Tags()
    async with resolving(tags) as (host, resolver):
        given = written(f"{host}/web:1", "registry.orch/web:1", "NOT A NAME", policy=PullPolicy.NEVER)
        assert await resolver.resolved([given], snapshot.Cluster()) == ([given], [])

    assert tags.asked == 0


async def test_the_credentials_of_the_namespace_are_shown() -> None:
    tags = Tags("pw")
    async with resolving(tags) as (host, resolver):
        data = {"host": host.encode(), "user": b"ci", "password": b"pw"}
        given = document.PlainSecret(ObjectName("default", "pull"), "registry", data, {})
        elsewhere = document.PlainSecret(ObjectName("other", "pull"), "registry", data, {})
        service = written(f"{host}/web:1")

        with_it, _ = await resolver.resolved([service, document.Written("", given)], snapshot.Cluster())
        _, (refused,) = await resolver.resolved(
            [service, document.Written("", elsewhere)], snapshot.Cluster()
        )
        resolver.opened = lambda _: data
        known = editing.with_secret(snapshot.Cluster(), Secret(given.name, type="registry"))
        stored, _ = await resolver.resolved([service], known)

    assert images(with_it) == images(stored) == [f"{host}/web:1@{tags.digest}"]
    assert "refuses access" in refused


async def test_a_registry_that_takes_no_connection_is_not_waited_for_as_long_as_one_that_thinks() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host = f"127.0.0.1:{full.getsockname()[1]}"
        for filler in (first, second):  # nobody takes them: further ones hear nothing
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with Registry(plain_http={host}, pool=Pool(connect_seconds=0.2)) as registry:
            resolver = Resolver(registry, 60.0, lambda _: {}, SystemClock())
            found, (warning,) = await resolver.resolved([written(f"{host}/web:1")], snapshot.Cluster())

    assert images(found) == [f"{host}/web:1"]
    assert "does not answer (no word in time)" in warning
