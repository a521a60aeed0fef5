"""Whole images that are hostile, huge or none at all, from a real registry: refused with a reason, leaving nothing."""

import gzip
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.images.images import Images, PullFailed
from agent.images.limits import Limits
from orch.oci import build, manifest, reference
from orch.oci.build import Built, Item
from orch.oci.failure import Reason
from orch.oci.image_config import ImageConfig
from orch.oci.registry import Registry
from tests.support.archives import archive, directory, member, symlink
from tests.support.registry import RunningRegistry, running_registry

# ruff: noqa: ASYNC240  small directories do not block

pytestmark = [pytest.mark.root, pytest.mark.registry]

SMALL = Limits(entries=1000, bytes=8 << 20, ratio=50, ratio_from=1 << 20, depth=50)


@pytest.fixture(scope="module")
def registry() -> Iterator[RunningRegistry]:
    with running_registry() as running:
        yield running


@pytest.fixture
async def images(tmp_path: Path, registry: RunningRegistry) -> AsyncIterator[Images]:
    opened = await Images.open(tmp_path / "images", plain_http={registry.host}, limits=SMALL)
    yield opened
    await opened.close()


async def pushed(registry: RunningRegistry, name: str, built: Built) -> str:
    text = f"{registry.host}/{name}"
    async with Registry(plain_http={registry.host}) as client:
        await build.push(client, reference.parse(text), built)
    return text


def an_image(*layers: bytes) -> Built:
    return build.image([build.layer_of(each) for each in layers], ImageConfig())


def changed(built: Built, **words: object) -> Built:
    """With other words in its manifest."""
    document = json.loads(built.body) | words
    return replace(built, body=json.dumps(document).encode())


def what_is_there(images: Images) -> list[str]:
    """All that a pull left in the store, the empty directories apart."""
    top = images.library.directory
    return [str(path.relative_to(top)) for path in top.rglob("*") if path.is_file() and path.name != "lock"]


def described(body: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": build._sha256(body), "size": len(body)}


CHART = b"{}"
BOMB = archive([member("zeros", bytes(4 << 20))])

HOSTILE: dict[str, tuple[Built, str]] = {
    "a path that climbs out": (an_image(archive([member("../../new", b"!")])), "climbs out"),
    "a swap for a symlink, then through it": (
        an_image(archive([directory("d"), symlink("d", "/"), member("d/../../new", b"!")])),
        "climbs out",
    ),
    "a bomb by ratio": (an_image(BOMB), "decompression bomb"),
    "a bomb by bytes": (an_image(archive([member("r", os.urandom(9 << 20))])), "more than 8388608 bytes"),
    "a bomb by files": (an_image(archive(member(f"f{i}") for i in range(1001))), "more than 1000 entries"),
    "a bomb by nesting": (an_image(archive([directory("d/" * 60)])), "more than 50 deep"),
    "a bomb in a bomb": (an_image(gzip.compress(BOMB * 4)), "not a tar archive|bomb"),
    "the second of two layers": (
        an_image(archive([member("good")]), archive([member("../new", b"!")])),
        "climbs out",
    ),
    "a huge header": (an_image(archive([member("f", pax={"comment": "x" * (2 << 20)})])), "extended header"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_image_is_refused_and_leaves_nothing(
    name: str, registry: RunningRegistry, images: Images, tmp_path: Path
) -> None:
    built, why = HOSTILE[name]
    beside = sorted(tmp_path.iterdir())
    text = await pushed(registry, f"hostile:{abs(hash(name))}", built)

    with pytest.raises(PullFailed, match=why) as caught:
        await images.pull(text)

    assert caught.value.reason is Reason.BAD_IMAGE
    assert images.list() == []
    assert sorted(tmp_path.iterdir()) == beside
    await images.close()
    assert what_is_there(images) == []


async def test_what_is_no_image_is_called_by_its_name(registry: RunningRegistry, images: Images) -> None:
    plain = an_image(archive([member("f")]))
    chart = changed(plain, config=described(CHART, "application/vnd.cncf.helm.config.v1+json"))
    chart.blobs[build._sha256(CHART)] = CHART
    text = await pushed(registry, "chart:1", chart)
    with pytest.raises(PullFailed, match=r"no image to run: .*vnd.cncf.helm.config"):
        await images.pull(text)

    layers = json.loads(plain.body)["layers"]
    layers[0]["mediaType"] += "+encrypted"
    text = await pushed(registry, "encrypted:1", changed(plain, layers=layers))
    with pytest.raises(PullFailed, match=r"layer 1 is .*gzip\+encrypted.*, which cannot be unpacked"):
        await images.pull(text)


async def test_a_configuration_over_four_mebibytes_is_not_even_fetched(
    registry: RunningRegistry, images: Images
) -> None:
    body = b" " * (manifest.LARGEST_MANIFEST + 1)
    plain = an_image(archive([member("f")]))
    large = changed(plain, config=described(body, manifest.OCI_CONFIG))
    large.blobs[build._sha256(body)] = body
    text = await pushed(registry, "large:1", large)

    with pytest.raises(PullFailed, match="4 MiB is the limit"):
        await images.pull(text)


async def test_an_image_of_127_layers_is_pulled_and_one_more_is_too_much(
    registry: RunningRegistry, images: Images
) -> None:
    layers = [build.layer([Item(f"f{number}", str(number).encode())]) for number in range(128)]
    text = await pushed(registry, "tall:127", build.image(layers[:127], ImageConfig()))
    image = await images.pull(text)
    assert len(image.layers) == 127
    assert (Path(image.layers[126]) / "f126").read_text() == "126"

    text = await pushed(registry, "tall:128", build.image(layers, ImageConfig()))
    with pytest.raises(PullFailed, match="128 layers; at most 127"):
        await images.pull(text)


async def test_an_image_without_layers_is_an_image(registry: RunningRegistry, images: Images) -> None:
    text = await pushed(registry, "empty:1", build.image([], ImageConfig(command=("/nothing",))))

    image = await images.pull(text)

    assert (image.layers, image.config.command) == ((), ("/nothing",))
