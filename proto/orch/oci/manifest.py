"""Manifests, indexes and image configurations: JSON of strangers → values, or a clear refusal.

Both families are read, OCI and Docker schema 2; they differ in media types only.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orch.oci import reference
from orch.oci.failure import bad_image

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)

LARGEST_MANIFEST = 4 << 20
"""Bytes; the limit of the distribution specification, and of Docker Hub."""

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


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Docker's own addition: how the image says that it is well. Durations in nanoseconds; 0 says nothing."""

    test: tuple[str, ...]
    """NONE, CMD and words, or CMD-SHELL and one text."""
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about how it wants to be run."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    user: str = ""
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    health_check: HealthCheck | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    """Instructions for whoever builds on this image."""
    architecture: str = ""
    os: str = ""
    variant: str = ""
    diff_ids: tuple[str, ...] = ()
    """Digests of the uncompressed layers, lowest first."""

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)


def parse(body: bytes, media_type: str = "") -> Manifest | Index:
    """The manifest or index in `body`. `media_type` is what the server called it, if it did."""
    document = _document(body, "manifest")
    said = document.get("mediaType", "")
    kind = said or media_type.partition(";")[0].strip()
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


def config(body: bytes) -> ImageConfig:
    """The image configuration in `body`."""
    document = _document(body, "image configuration")
    run = _mapping(document.get("config"), "config")
    rootfs = _mapping(document.get("rootfs"), "rootfs")
    diff_ids = _strings(rootfs.get("diff_ids"), "rootfs.diff_ids")
    for diff_id in diff_ids:
        _digest(diff_id, "rootfs.diff_ids")
    return ImageConfig(
        entrypoint=_command(run.get("Entrypoint"), "Entrypoint"),
        command=_command(run.get("Cmd"), "Cmd"),
        environment=tuple(_assignment(text) for text in _strings(run.get("Env"), "Env")),
        user=_string(run.get("User"), "User"),
        working_dir=_string(run.get("WorkingDir"), "WorkingDir"),
        exposed_ports=tuple(sorted(_mapping(run.get("ExposedPorts"), "ExposedPorts"))),
        volumes=tuple(sorted(_mapping(run.get("Volumes"), "Volumes"))),
        stop_signal=_string(run.get("StopSignal"), "StopSignal"),
        labels=tuple(
            sorted((k, _string(v, f"label {k}")) for k, v in _mapping(run.get("Labels"), "Labels").items())
        ),
        health_check=_health_check(_mapping(run.get("Healthcheck"), "Healthcheck")),
        shell=_strings(run.get("Shell"), "Shell"),
        on_build=_strings(run.get("OnBuild"), "OnBuild"),
        architecture=_string(document.get("architecture"), "architecture"),
        os=_string(document.get("os"), "os"),
        variant=_string(document.get("variant"), "variant"),
        diff_ids=diff_ids,
    )


def _health_check(said: Mapping[str, Any]) -> HealthCheck | None:
    test = _strings(said.get("Test"), "Healthcheck.Test")
    if not test:
        return None
    names = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
    return HealthCheck(test, *(_number(said.get(name), f"Healthcheck.{name}") for name in names))


def _manifest(document: Mapping[str, Any]) -> Manifest:
    if "config" not in document:
        raise bad_image("the manifest names no configuration")
    layers = tuple(
        _descriptor(layer, f"layers[{i}]") for i, layer in enumerate(_list(document.get("layers"), "layers"))
    )
    if len(layers) > MOST_LAYERS:
        raise bad_image(f"the image has {len(layers)} layers; at most {MOST_LAYERS} can be stacked")
    return Manifest(_descriptor(document["config"], "config"), layers)


def _index(document: Mapping[str, Any]) -> Index:
    return Index(
        tuple(
            _entry(entry, f"manifests[{i}]")
            for i, entry in enumerate(_list(document.get("manifests"), "manifests"))
        )
    )


def _entry(value: object, where: str) -> IndexEntry:
    entry = _mapping(value, where)
    named = entry.get("platform")
    platform = None
    if named is not None:
        said = _mapping(named, f"{where}.platform")
        platform = Platform(
            _string(said.get("os"), f"{where}.platform.os"),
            _string(said.get("architecture"), f"{where}.platform.architecture"),
            _string(said.get("variant"), f"{where}.platform.variant"),
        )
    annotations = _mapping(entry.get("annotations"), f"{where}.annotations")
    return IndexEntry(
        _descriptor(entry, where),
        platform,
        {k: _string(v, f"{where}.annotations") for k, v in annotations.items()},
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
    said = _mapping(value, where)
    size = said.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise bad_image(f"{where}.size is not a number of bytes")
    if said.get("urls"):
        raise bad_image(f"{where} lives outside the registry (a foreign layer), which orch does not follow")
    return Descriptor(
        _string(said.get("mediaType"), f"{where}.mediaType"), _digest(said.get("digest"), where), size
    )


def _document(body: bytes, what: str) -> Mapping[str, Any]:
    if len(body) > LARGEST_MANIFEST:
        raise bad_image(f"the {what} is larger than {LARGEST_MANIFEST >> 20} MiB")
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError) as problem:
        raise bad_image(f"the {what} is not JSON: {problem}") from None
    if not isinstance(document, dict):
        raise bad_image(f"the {what} is not a JSON object")
    return document


def _digest(value: object, where: str) -> str:
    if not isinstance(value, str) or not reference.is_digest(value):
        raise bad_image(f"{where}: {value!r:.80} is not a sha256 digest")
    return value


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_image(f"{where} is not a map")
    return value


def _list(value: object, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_image(f"{where} is not a list")
    return value


def _strings(value: object, where: str) -> tuple[str, ...]:
    return tuple(_string(item, where) for item in _list(value, where))


def _string(value: object, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise bad_image(f"{where} is not text")
    return value


def _number(value: object, where: str) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise bad_image(f"{where} is not a number")
    return value


def _command(value: object, where: str) -> tuple[str, ...]:
    """Old images hold a plain string, which Docker runs through the shell."""
    return ("/bin/sh", "-c", _string(value, where)) if isinstance(value, str) else _strings(value, where)


def _assignment(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
