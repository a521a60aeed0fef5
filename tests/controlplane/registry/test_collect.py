"""What nobody needs goes; what is named, or came a moment ago, stays."""

# ruff: noqa: ASYNC240  small files do not block

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
import pytest
from obstore.store import LocalStore, MemoryStore

from controlplane.registry import blobs, collect
from controlplane.registry.blobs import Blobs
from controlplane.registry.refusal import Refusal
from controlplane.registry.repositories import Repositories
from orch.oci import manifest


class Place:
    def __init__(self) -> None:
        store = MemoryStore()
        self.blobs = Blobs(store)
        self.repositories = Repositories(store, self.blobs, second_look=0.0)

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

    async def collected(self, pinned: collect.Pinned = tuple, untagged: float = -1) -> list[str]:
        """Condemned, and then gone: without anything between two collections."""
        assert await collect.collect(self.blobs, self.repositories, pinned, grace=-1, untagged=untagged) == []
        return await collect.collect(self.blobs, self.repositories, pinned, grace=-1, untagged=untagged)

    async def index(self, name: str, tag: str, member: str) -> str:
        document = {"schemaVersion": 2, "manifests": [{"digest": member, "size": 1}]}
        return (
            await self.repositories.put(name, tag, manifest.OCI_INDEX, json.dumps(document).encode())
        ).digest

    async def signature(self, name: str, subject: str) -> str:
        document = {
            "schemaVersion": 2,
            "subject": {"digest": subject, "size": 1},
            "artifactType": "signature",
        }
        body = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        return (await self.repositories.put(name, digest, manifest.OCI_MANIFEST, body)).digest


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_a_blob_goes_when_no_manifest_names_it() -> None:
    place = Place()
    layer = await place.blob("web", b"layer")
    orphan = await place.blob("web", b"orphan")
    image = await place.image("web", "1", layer)

    assert await place.collected() == [orphan]

    await place.repositories.remove("web", image)
    gone = await place.collected()

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

    await place.collected()

    assert not await place.repositories.has("one", layer)
    assert await place.repositories.has("two", layer)
    assert await place.blobs.size(layer) == 5


async def test_what_is_pushed_anew_while_others_are_looked_through_stays() -> None:
    place = Place()
    old = await place.blob("web", b"old")
    await asyncio.sleep(0.2)
    await collect.collect(place.blobs, place.repositories, grace=0.1)
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


async def test_what_has_a_tag_stays_and_what_lost_it_goes_after_a_while() -> None:
    place = Place()
    old = await place.image("web", "1", await place.blob("web", b"old"))
    new = await place.image("web", "1", await place.blob("web", b"new"))

    assert await place.collected(untagged=60.0) == [], "somebody may deploy it by its digest"
    gone = await place.collected()

    assert old in gone
    assert new not in gone
    assert await place.repositories.manifests("web") == [new]


async def test_what_a_revision_runs_stays_without_a_tag() -> None:
    place = Place()
    old = await place.image("web", "1", await place.blob("web", b"old"))
    await place.image("web", "1", await place.blob("web", b"new"))

    assert await place.collected(lambda: {("web", old)}) == []
    assert old in await place.collected(lambda: {("other", old)})


async def test_members_of_an_index_and_what_refers_to_something_needed_stay_with_it() -> None:
    place = Place()
    member = await place.image("web", "amd64", await place.blob("web", b"layer"))
    index = await place.index("web", "1", member)
    signature = await place.signature("web", member)
    await place.repositories.remove("web", "amd64")

    assert await place.collected() == []

    await place.repositories.remove("web", "1")
    gone = await place.collected()

    assert {member, index, signature} <= set(gone)
    assert await place.repositories.referrers("web", member) == []


async def test_who_names_what_is_condemned_spares_it() -> None:
    place = Place()
    layer = await place.blob("web", b"layer")
    assert await collect.collect(place.blobs, place.repositories, grace=-1) == []
    assert await place.repositories.condemned.is_in(layer)

    await place.image("web", "1", layer)

    assert not await place.repositories.condemned.is_in(layer)
    assert layer not in await collect.collect(place.blobs, place.repositories, grace=-1)
    assert await place.blobs.size(layer) == 5


async def test_a_push_that_comes_while_another_control_plane_removes_its_parts_is_refused() -> None:
    """The other has seen the mark a moment before it was taken away."""
    place = Place()
    layer = await place.blob("web", b"layer")
    await place.repositories.condemned.add(layer)
    spare = place.repositories.condemned.spare

    async def spare_too_late(digest: str) -> bool:
        found = await spare(digest)
        if found:
            await place.blobs.remove(digest)
        return found

    place.repositories.condemned.spare = spare_too_late  # type: ignore[method-assign]

    with pytest.raises(Refusal, match="push the blob"):
        await place.image("web", "1", layer)


async def test_uploads_of_other_control_planes_over_one_object_store_are_let_alone() -> None:
    store = MemoryStore()
    await obstore.put_async(store, "uploads/theirs", b"closed, and about to be renamed")

    await Blobs(store).forget_uploads()

    assert bytes(await (await obstore.get_async(store, "uploads/theirs")).bytes_async()) != b""


async def test_too_many_uploads_at_once_are_told_to_come_back() -> None:
    held = Blobs(MemoryStore())
    for _ in range(blobs.MOST_UPLOADS):
        await held.begin("web")

    with pytest.raises(Refusal) as refused:
        await held.begin("web")

    assert refused.value.status == 429
