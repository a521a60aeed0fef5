"""From the library to a registry: parts first, so that whoever sees the name finds everything."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from agent.images.image import Image
from agent.images.images import Images
from orch.oci.failure import ImageFailure, Reason
from orch.oci.manifest import OCI_MANIFEST, Descriptor
from orch.oci.reference import Reference
from orch.oci.registry import Registry

_CHUNK = 1 << 20


async def push(
    image: Image,
    ref: Reference,
    images: Images,
    registry: Registry,
    blobs: Path,
    origins: Mapping[str, Reference],
) -> str:
    """The digest. `origins`: where layers that were not made here came from. Raises ImageFailure."""
    if await registry.find(ref) == image.digest:
        return image.digest
    stored, manifest_body, config_body = images.as_sent(image.digest)
    for layer in stored.manifest.layers:
        await _push_layer(layer, ref, registry, blobs, origins)
    await registry.upload(ref, stored.manifest.config, config_body)
    return await registry.put_manifest(ref, OCI_MANIFEST, manifest_body)


async def _push_layer(
    layer: Descriptor, ref: Reference, registry: Registry, blobs: Path, origins: Mapping[str, Reference]
) -> None:
    if await registry.has_blob(ref, layer.digest):
        return
    path = blobs / layer.digest.removeprefix("sha256:")
    if path.exists():
        await registry.upload(ref, layer, _read(path))
        return
    origin = origins.get(layer.digest)
    if origin is None:
        raise ImageFailure(
            Reason.NOT_PRESENT,
            f"the layer {layer.digest[:19]}… has just been removed from this node: build again",
        )
    same = origin.registry == ref.registry
    if same and await registry.mount(ref, layer.digest, origin.repository):
        return
    await registry.upload(ref, layer, registry.blob(origin, layer))


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
