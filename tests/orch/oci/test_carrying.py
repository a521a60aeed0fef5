"""Images between registries, names and files: what arrives is what was sent."""

import asyncio
import io
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from orch.oci import build, copying, layout, reference
from orch.oci.build import Built, Item
from orch.oci.failure import ImageFailure
from orch.oci.image_config import ImageConfig
from orch.oci.manifest import Descriptor
from orch.oci.reference import Reference
from orch.oci.registry import Registry
from tests.support.our_registry import our_registry


class Places:
    """Two registries and who speaks with them."""

    def __init__(self, hosts: list[str], registry: Registry) -> None:
        self.hosts = hosts
        self.registry = registry
        self.reported: list[str] = []

    def ref(self, name: str, host: int = 0) -> Reference:
        return reference.parse(f"{self.hosts[host]}/{name}")

    def report(self, _blob: Descriptor, what: str) -> None:
        self.reported.append(what)

    async def copy(self, source: Reference, target: Reference) -> str:
        self.reported.clear()
        return await copying.copy(self.registry, source, target, self.report)


@pytest.fixture
async def places() -> AsyncIterator[Places]:
    async with (
        our_registry(MemoryStore()) as one,
        our_registry(MemoryStore()) as other,
        Registry(plain_http={one, other}) as registry,
    ):
        yield Places([one, other], registry)


def an_image(text: str = "hello", architecture: str = "amd64") -> Built:
    layers = [build.layer([Item("a", text.encode())]), build.layer([Item("b", b"b")])]
    return build.image(layers, ImageConfig(architecture=architecture, os="linux", command=("a",)))


async def test_another_name_costs_no_bytes(places: Places) -> None:
    digest = await build.push(places.registry, places.ref("web:1"), an_image())

    assert await places.copy(places.ref("web:1"), places.ref("other/web:2")) == digest
    assert places.reported == ["mounted"] * 3
    assert await places.registry.resolve(places.ref("other/web:2")) == digest


async def test_an_index_comes_with_all_its_platforms_and_what_is_there_stays(places: Places) -> None:
    both = build.index([an_image("x86"), an_image("arm", "arm64")])
    await build.push(places.registry, places.ref("web:1"), both)

    assert await places.copy(places.ref("web:1"), places.ref("web:1", 1)) == both.digest
    assert places.reported.count("copied") == 5  # two of one layer's own, one shared, two configurations
    for member in both.members:
        assert (
            await places.registry.manifest(places.ref("web:1", 1).pinned(member.digest))
        ).body == member.body

    await places.copy(places.ref("web:1"), places.ref("web:2", 1))
    assert set(places.reported) == {"there"}


async def test_what_is_saved_and_imported_is_the_same_image(places: Places, tmp_path: Path) -> None:
    both = build.index([an_image("x86"), an_image("arm", "arm64")])
    await build.push(places.registry, places.ref("web:1"), both)
    with (tmp_path / "web.tar").open("wb") as file:
        await layout.write(places.registry, places.ref("web:1"), "shop/web:1", file)

    with layout.Archive(tmp_path / "web.tar") as archive:
        (held,) = archive.images
        assert held.names == ("shop/web:1",)
        assert await archive.push(places.registry, held, places.ref("back:1", 1)) == both.digest
    assert (await places.registry.manifest(places.ref("back:1", 1))).body == both.body


@pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
async def test_skopeo_reads_what_is_saved_and_its_archives_are_read(
    places: Places, tmp_path: Path, kind: str
) -> None:
    image = an_image()
    await build.push(places.registry, places.ref("web:1"), image)
    with (tmp_path / "ours.tar").open("wb") as file:
        await layout.write(places.registry, places.ref("web:1"), "shop/web:1", file)
    theirs = tmp_path / "theirs.tar"
    command = [
        "skopeo",
        "copy",
        "-q",
        f"{kind}:{tmp_path}/ours.tar",
        f"{kind}:{theirs}:docker.io/their/web:2",
    ]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    with layout.Archive(theirs) as archive:
        (held,) = archive.images
        assert held.names == ("docker.io/their/web:2",)
        await archive.push(places.registry, held, places.ref("back:1", 1))
    sent, back = [
        json.loads((await places.registry.manifest(ref)).body)["config"]["digest"]
        for ref in (places.ref("web:1"), places.ref("back:1", 1))
    ]
    assert sent == back


async def test_an_archive_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no archive at all" * 100)
    with pytest.raises(ImageFailure, match="not a plain tar"):
        layout.Archive(tmp_path / "x")


async def test_content_that_is_not_what_its_name_says_is_refused(places: Places, tmp_path: Path) -> None:
    image = an_image()
    bad = {**image.blobs, image.digest: image.body.replace(b"amd64", b"amd65") + b" "}
    damaged = Built(image.media_type, image.body, bad)
    build.write_archive(tmp_path / "x.tar", damaged, reference.parse("web:1"))
    content = (tmp_path / "x.tar").read_bytes().replace(image.body[:40], b"x" * 40)
    (tmp_path / "x.tar").write_bytes(content)

    with layout.Archive(tmp_path / "x.tar") as archive:
        what = archive.push(places.registry, archive.images[0], places.ref("web:1"))
        with pytest.raises(ImageFailure, match="is not what its name says"):
            await what


async def test_a_layer_that_comes_broken_is_not_saved(places: Places) -> None:
    source = places.ref("web:1")
    await build.push(places.registry, source, an_image())

    class Lying(Registry):
        async def blob(self, ref: Reference, wanted: Descriptor) -> AsyncIterator[bytes]:
            yield b"x" * wanted.size

    async with Lying(plain_http=set(places.hosts)) as lying:
        with pytest.raises(ImageFailure, match="another content"):
            await layout.write(lying, source, "web:1", io.BytesIO())
