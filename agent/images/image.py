"""What an image is to whoever runs it, and to the library that keeps it (pure)."""

from dataclasses import dataclass

from orch.oci import image_config, manifest
from orch.oci.failure import bad_image
from orch.oci.image_config import ImageConfig
from orch.oci.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Image:
    """An image ready to run."""

    reference: str
    digest: str
    """Of its manifest."""
    config: ImageConfig
    layers: tuple[str, ...]
    """Unpacked directories, lowest first."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An image as the library keeps it."""

    digest: str
    manifest: Manifest
    config: ImageConfig


@dataclass(frozen=True, slots=True)
class Layer:
    diff_id: str
    size: int
    """Bytes of its archive, uncompressed."""


def stored(digest: str, manifest_body: bytes, config_body: bytes) -> Stored:
    """`digest` is taken at its word. Raises ImageFailure."""
    parsed = manifest.parse(manifest_body)
    if not isinstance(parsed, Manifest):
        raise bad_image(f"{digest} is an index, not an image")
    return Stored(digest, parsed, image_config.read(config_body))
