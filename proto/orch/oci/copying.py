"""An image from one registry to another, or to another name: parts first, all platforms of it, each blob once."""

from collections.abc import Callable

from orch.oci import manifest
from orch.oci.failure import bad_image
from orch.oci.manifest import Descriptor, Index, Manifest
from orch.oci.reference import Reference
from orch.oci.registry import Fetched, Registry

Report = Callable[[Descriptor, str], None]
"""(a blob, what became of it: `copied`, `mounted` or `there`)."""

_DEEPEST = 3


async def copy(registry: Registry, source: Reference, target: Reference, report: Report) -> str:
    """The digest, which is the same at both ends. Raises ImageFailure."""
    return await _copy(registry, source, target, await registry.manifest(source), report, 0)


async def _copy(
    registry: Registry, source: Reference, target: Reference, found: Fetched, report: Report, depth: int
) -> str:
    if depth > _DEEPEST:
        raise bad_image(f"{source.familiar} is an index in an index in an index: nobody makes such images")
    parsed = manifest.parse(found.body, found.media_type)
    match parsed:
        case Index(entries):
            for entry in entries:
                inner = source.pinned(entry.descriptor.digest)
                member = await registry.manifest(inner)
                await _copy(registry, inner, target.pinned(member.digest), member, report, depth + 1)
        case Manifest(config=config, layers=layers):
            for blob in dict.fromkeys((*layers, config)):
                report(blob, await _blob(registry, source, target, blob))
    return await registry.put_manifest(target, _media_type(found), found.body)


async def _blob(registry: Registry, source: Reference, target: Reference, blob: Descriptor) -> str:
    if await registry.has_blob(target, blob.digest):
        return "there"
    same = source.registry == target.registry
    if same and await registry.mount(target, blob.digest, source.repository):
        return "mounted"
    await registry.upload(target, blob, registry.blob(source, blob))
    return "copied"


def _media_type(found: Fetched) -> str:
    """As the registry said, or what every registry understands."""
    return found.media_type.partition(";")[0].strip() or manifest.OCI_MANIFEST
