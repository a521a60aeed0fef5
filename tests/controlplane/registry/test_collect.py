"""What nobody needs goes; what is named, or came a moment ago, stays."""

# ruff: noqa: ASYNC240  small files do not block

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from controlplane.registry import collect
from controlplane.registry.blobs import Blobs
from controlplane.registry.refusal import Refusal
from controlplane.registry.repositories import Repositories
from orch.oci import manifest


class Place:
    def __init__(self) -> None:
        store = MemoryStore()
        self.blobs = Blobs(store)
        self.repositories = Repositories(store, self.blobs)

    async def blob(self, name: str, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        upload = await self.blobs.begin(name)
        await self.blobs.append(upload, _once(content))
        await self.blobs.finish(upload, digest)
        await self.repositories.link(name, digest)
        return digest

    async def image(self, name: str, tag: str, layer: str) -> str:
        config = await self.blob(name, b"{}")
        document = {
            "schemaVersion": 2,
            "config": {"digest": config, "size": 2},
            "layers": [{"digest": layer, "size": 1}],
        }
        body = json.dumps(document).encode()
        return (await self.repositories.put(name, tag, manifest.OCI_MANIFEST, body)).digest


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_a_blob_goes_when_no_manifest_names_it() -> None:
    place = Place()
    layer = await place.blob("web", b"layer")
    orphan = await place.blob("web", b"orphan")
    image = await place.image("web", "1", layer)

    assert await collect.collect(place.blobs, place.repositories, grace=-1) == [orphan]

    await place.repositories.remove("web", image)
    gone = await collect.collect(place.blobs, place.repositories, grace=-1)

    assert layer in gone
    assert image in gone
    assert [digest async for digest, _ in place.blobs.all()] == []


async def test_what_came_a_moment_ago_stays() -> None:
    place = Place()
    await place.blob("web", b"about to be named")

    assert await collect.collect(place.blobs, place.repositories) == []


async def test_a_blob_that_another_repository_needs_stays() -> None:
    place = Place()
    layer = await place.blob("one", b"layer")
    await place.repositories.link("two", layer)
    await place.image("two", "1", layer)

    await collect.collect(place.blobs, place.repositories, grace=-1)

    assert not await place.repositories.has("one", layer)
    assert await place.repositories.has("two", layer)
    assert await place.blobs.size(layer) == 5


async def test_what_is_pushed_anew_while_others_are_looked_through_stays() -> None:
    place = Place()
    old = await place.blob("web", b"old")
    await asyncio.sleep(0.2)
    names = place.repositories.names

    async def names_with_a_push() -> AsyncIterator[str]:
        async for name in names():
            yield name
        await place.blob("late", b"old")

    place.repositories.names = names_with_a_push  # type: ignore[method-assign]

    assert await collect.collect(place.blobs, place.repositories, grace=0.1) == []
    assert await place.blobs.size(old) == 3


async def test_a_manifest_is_refused_when_content_of_its_parts_is_lost() -> None:
    place = Place()
    layer = await place.blob("web", b"layer")
    await place.blobs.remove(layer)

    with pytest.raises(Refusal, match="push the blob"):
        await place.image("web", "1", layer)


async def test_content_that_is_lost_is_said_to_be() -> None:
    place = Place()
    image = await place.image("web", "1", await place.blob("web", b"layer"))
    await place.blobs.remove(image)

    with pytest.raises(Refusal, match="push it again"):
        await place.repositories.manifest("web", "1")


async def test_uploads_of_an_earlier_life_are_forgotten(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    upload = await Blobs(store).begin("web")
    await Blobs(store).append(upload, _once(b"x" * (9 << 20)))
    before = [path for path in tmp_path.rglob("*") if path.is_file()]

    await Blobs(store).forget_uploads()

    assert before != []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
