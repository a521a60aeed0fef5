"""Manifests and indexes: JSON of strangers → values, or a clear refusal.

Both families are read, OCI and Docker schema 2; they differ in media types only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orch.oci import reading
from orch.oci.failure import bad_image

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
LAYERS = (
    OCI_LAYER,
    OCI_LAYER_GZIP,
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    DOCKER_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
)
_ANYTHING = "application/octet-stream"
"""What some old tools call everything."""

LARGEST_MANIFEST = reading.LARGEST_BYTES

MOST_LAYERS = 127
"""Docker's own limit; overlayfs ends at 500."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A promise of content: what it is, its digest and its size in bytes."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Manifest:
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    descriptor: Descriptor
    platform: Platform | None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    entries: tuple[IndexEntry, ...]


def parse(body: bytes, media_type: str = "") -> Manifest | Index:
    """The manifest or index in `body`. `media_type` is what the server called it, if it did."""
    document = reading.document(body, "manifest")
    said = document.get("mediaType", "")
    told = media_type.partition(";")[0].strip()
    if said and told in (*MANIFESTS, *INDEXES) and said != told:
        raise bad_image(
            f"the manifest says that it is {said!r:.80}, and the registry that it is {told!r:.80}"
        )
    kind = said or told
    if document.get("schemaVersion") == 1 or "fsLayers" in document:
        raise bad_image(
            "the manifest is of Docker's schema 1, given up in 2019: push it again with a current tool"
        )
    if "manifests" in document and "layers" in document:
        raise bad_image("the manifest claims to be an image and an index at once")
    if kind in INDEXES or (kind not in MANIFESTS and "manifests" in document):
        return _index(document)
    if kind in MANIFESTS or "layers" in document:
        return _manifest(document)
    raise bad_image(
        f'"{kind or "a document without a media type"}" is not an image: it has neither layers nor manifests'
    )


def check_runnable(found: Manifest) -> None:
    """Registries hold much that is no image: charts, signatures, models. Raises ImageFailure."""
    kind = found.config.media_type
    if kind and kind not in (*CONFIGS, _ANYTHING):
        raise bad_image(f"what is there is no image to run: its configuration is {kind!r:.120}")
    for number, layer in enumerate(found.layers, 1):
        if layer.media_type and layer.media_type not in (*LAYERS, _ANYTHING):
            raise bad_image(f"layer {number} is {layer.media_type!r:.120}, which cannot be unpacked here")


_ALIASES = {
    "aarch64": ("arm64", ""),
    "armel": ("arm", "v6"),
    "armhf": ("arm", "v7"),
    "i386": ("386", ""),
    "x86_64": ("amd64", ""),
}
"""Architecture and variant, as docker takes them."""


def platform(text: str) -> Platform:
    """`linux/arm64`, `linux/arm/v7`, or the architecture alone. Raises ImageFailure."""
    parts = text.strip().lower().split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    if not all(parts) or len(parts) > 3 or "," in text:
        several = ": one platform at a time" if "," in text else ""
        raise bad_image(
            f"{text or 'nothing'} is no platform{several}; write OS/ARCH, for example linux/arm64"
        )
    os, architecture, variant = [*parts, ""][:3]
    architecture, usual = _ALIASES.get(architecture, (architecture, ""))
    variant = variant or usual
    if (architecture, variant) in {("arm64", "v8"), ("amd64", "v1")}:
        variant = ""  # what is meant without a word
    return Platform(os, architecture, variant)


def choose(index: Index, wanted: Platform) -> Descriptor:
    """The image in `index` that runs on `wanted`; the exact variant first, then the nearest lower one."""
    fitting = [
        (rank, entry.descriptor)
        for entry in index.entries
        if entry.platform and (rank := _rank(entry.platform, wanted)) is not None
    ]
    if fitting:
        return min(fitting, key=lambda pair: pair[0])[1]
    if len(index.entries) == 1 and index.entries[0].platform is None:
        return index.entries[0].descriptor
    offered = ", ".join(
        sorted({str(e.platform) for e in index.entries if e.platform and e.platform.os != "unknown"})
    )
    raise bad_image(f"the image is not made for {wanted}; it is made for {offered or 'nothing'}")


def _manifest(document: Mapping[str, Any]) -> Manifest:
    if "config" not in document:
        raise bad_image("the manifest names no configuration")
    layers = tuple(
        _descriptor(layer, f"layers[{i}]")
        for i, layer in enumerate(reading.items(document.get("layers"), "layers"))
    )
    if len(layers) > MOST_LAYERS:
        raise bad_image(f"the image has {len(layers)} layers; at most {MOST_LAYERS} can be stacked")
    return Manifest(_descriptor(document["config"], "config"), layers)


def _index(document: Mapping[str, Any]) -> Index:
    return Index(
        tuple(
            _entry(entry, f"manifests[{i}]")
            for i, entry in enumerate(reading.items(document.get("manifests"), "manifests"))
        )
    )


def _entry(value: object, where: str) -> IndexEntry:
    entry = reading.mapping(value, where)
    named = entry.get("platform")
    platform = None
    if named is not None:
        said = reading.mapping(named, f"{where}.platform")
        platform = Platform(
            reading.text(said.get("os"), f"{where}.platform.os"),
            reading.text(said.get("architecture"), f"{where}.platform.architecture"),
            reading.text(said.get("variant"), f"{where}.platform.variant"),
        )
    annotations = reading.mapping(entry.get("annotations"), f"{where}.annotations")
    return IndexEntry(
        _descriptor(entry, where),
        platform,
        {k: reading.text(v, f"{where}.annotations") for k, v in annotations.items()},
    )


def _rank(offered: Platform, wanted: Platform) -> int | None:
    """0 is the best; None does not run here. An arm64 without a variant is a v8."""
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    here, there = _variant(wanted), _variant(offered)
    return None if there > here else here - there


def _variant(platform: Platform) -> int:
    fallback = {"arm64": 8, "arm": 7}.get(platform.architecture, 1)
    digits = platform.variant.removeprefix("v").partition(".")[0]
    return int(digits) if digits.isdecimal() else fallback


def _descriptor(value: object, where: str) -> Descriptor:
    said = reading.mapping(value, where)
    size = said.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise bad_image(f"{where}.size is not a number of bytes")
    if said.get("urls"):
        raise bad_image(f"{where} lives outside the registry (a foreign layer), which orch does not follow")
    return Descriptor(
        reading.text(said.get("mediaType"), f"{where}.mediaType"),
        reading.digest(said.get("digest"), where),
        size,
    )
