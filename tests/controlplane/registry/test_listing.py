"""What the registry says that it has."""

import asyncio
import json

import pytest
from obstore.store import MemoryStore

from controlplane.registry import listing
from controlplane.registry.blobs import Blobs
from controlplane.registry.refusal import Refusal
from controlplane.registry.repositories import Repositories
from orch.oci import build, reference
from orch.oci.build import Item
from orch.oci.image_config import ImageConfig
from orch.oci.registry import Registry
from tests.support.our_registry import our_registry


async def test_every_tag_is_listed_with_the_size_of_what_it_stands_for() -> None:
    store = MemoryStore()
    shared = build.layer([Item("a", b"a" * 5000)], level=0)
    one, other = (
        build.image(
            [shared, build.layer([Item("b", name.encode())])], ImageConfig(architecture=name, os="linux")
        )
        for name in ("amd64", "arm64")
    )
    async with our_registry(store) as host, Registry(plain_http={host}) as registry:
        for name, built in (("a:1", one), ("deep/er/b:1", build.index([one, other])), ("a:2", one)):
            await build.push(registry, reference.parse(f"{host}/{name}"), built)
        blobs = Blobs(store)
        found = [each async for each in listing.tagged(Repositories(store, blobs))]

    own = {built.digest: {len(blob) for blob in built.blobs.values()} for built in (one, other)}
    layers = {
        built.digest: sum(s for s in own[built.digest] if s > 5000 or s < 200) for built in (one, other)
    }
    sizes = {f"{each.repository}:{each.tag}": each.size for each in found}
    assert sorted(sizes) == ["a:1", "a:2", "deep/er/b:1"]
    assert sizes["a:1"] == sizes["a:2"] == layers[one.digest]
    shared_size = len(shared.blob)
    assert sizes["deep/er/b:1"] == layers[one.digest] + layers[other.digest] - shared_size
    assert all(each.at > 1e9 for each in found)


async def test_a_manifest_whose_sizes_are_words_is_refused_before_it_breaks_the_list() -> None:
    store = MemoryStore()
    repositories = Repositories(store, Blobs(store))
    body = b'{"schemaVersion": 2, "layers": [{"digest": "sha256:%s", "size": "much"}]}' % (b"a" * 64)

    with pytest.raises(Refusal, match="a size in layers"):
        await repositories.put("web", "1", "", body)


async def test_an_index_that_names_one_many_times_over_is_read_once() -> None:
    store = MemoryStore()
    repositories = Repositories(store, Blobs(store))
    digest = (await repositories.put("web", "0", "", b'{"schemaVersion": 2}')).digest
    for level in range(12):
        members = [{"digest": digest, "size": 1}] * 10
        body = json.dumps({"schemaVersion": 2, "manifests": members}).encode()
        digest = (await repositories.put("web", f"{level + 1}", "", body)).digest

    async with asyncio.timeout(60):
        assert len([each async for each in listing.tagged(repositories)]) == 13
