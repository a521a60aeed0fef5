"""Pulling, against Debian's docker-registry."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from orch.oci import build, reference
from orch.oci.registry import Registry

from agent.images.images import Images
from tests.support import images as pictures
from tests.support.registry import RunningRegistry, running_registry

pytestmark = [pytest.mark.registry, pytest.mark.root]


@pytest.fixture(scope="module")
def registry() -> Iterator[RunningRegistry]:
    with running_registry() as running:
        yield running


@pytest.fixture
async def images(registry: RunningRegistry, tmp_path: Path) -> AsyncIterator[Images]:
    opened = await Images.open(tmp_path / "images", plain_http={registry.host})
    yield opened
    await opened.close()


async def push(registry: RunningRegistry, name: str, built: build.Built) -> str:
    """Gives `built` the name `name` in the registry; answers the whole reference."""
    text = f"{registry.host}/{name}"
    async with Registry(plain_http={registry.host}) as client:
        await build.push(client, reference.parse(text), built)
    return text


async def test_a_pulled_image_is_there_to_run(registry: RunningRegistry, images: Images) -> None:
    name = await push(registry, "busybox:1", pictures.busybox())
    seen: list[tuple[int, int]] = []

    image = await images.pull(name, on_progress=lambda done, total: seen.append((done, total)))

    assert image.digest == pictures.busybox().digest
    assert image.config.command == ("sh",)
    (layer,) = map(Path, image.layers)
    assert (layer / "bin/busybox").read_bytes() == pictures.BUSYBOX.read_bytes()
    assert (layer / "bin/sh").readlink() == Path("busybox")
    assert seen[-1][0] == seen[-1][1] > 0
    assert images.find(name) == image
