"""What the registry says that it has."""

from obstore.store import MemoryStore

from controlplane.registry import listing
from controlplane.registry.blobs import Blobs
from controlplane.registry.repositories import Repositories
from orch.oci import build, reference
from orch.oci.build import Item
from orch.oci.manifest import ImageConfig
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
