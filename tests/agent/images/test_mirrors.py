"""A mirror that sends rubbish in place of layers: the registry itself is asked, and no half layer is left."""

from pathlib import Path

import pytest
from aiohttp import web

from agent.images.images import Images, PullFailed
from orch.oci import build, reference, routes
from orch.oci.failure import Reason
from orch.oci.registry import Registry
from tests.support import images as pictures
from tests.support.registry import running_registry

pytestmark = [pytest.mark.registry, pytest.mark.root]


async def test_a_layer_that_a_mirror_forged_comes_from_the_registry_itself(tmp_path: Path) -> None:
    forged: list[str] = []

    async def forging(request: web.Request) -> web.Response:
        if "/blobs/" not in request.path:
            return web.Response(status=404)
        forged.append(request.path)
        return web.Response(body=b"not what you wanted")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", forging)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    mirror = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        with running_registry() as registry:
            text, allowed = f"{registry.host}/web:1", {registry.host, mirror}
            async with Registry(plain_http=allowed) as client:
                await build.push(client, reference.parse(text), pictures.web("1"))
            reached = routes.routes(allowed, mirrors=[(registry.host, mirror)])
            images = await Images.open(tmp_path / "images", routes_=reached)
            try:
                assert len((await images.pull(text)).layers) == 2
            finally:
                await images.close()
            stranger = await Images.open(
                tmp_path / "stranger", routes_=routes.routes({mirror}, mirrors=[("127.0.0.1:1", mirror)])
            )
            try:
                with pytest.raises(PullFailed) as caught:
                    await stranger.pull("127.0.0.1:1/web:1")
            finally:
                await stranger.close()
    finally:
        await runner.cleanup()

    assert len(forged) >= 3
    assert caught.value.reason is Reason.REGISTRY_UNREACHABLE
    assert not list((tmp_path / "images/incoming").iterdir())
