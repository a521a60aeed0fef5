"""Makes an image from files: the same input gives the same digests, on every machine.

Whole layers are held in memory: this is for the demo, tools and tests, not for gigabytes.
"""

import gzip
import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orch.oci import image_config, manifest
from orch.oci.image_config import ImageConfig
from orch.oci.manifest import Descriptor, Platform
from orch.oci.reference import Reference
from orch.oci.registry import Registry

_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Item:
    """One file, directory or symbolic link of a layer."""

    path: str
    content: bytes | Path = b""
    mode: int = 0o644
    directory: bool = False
    target: str = ""
    """Where a symbolic link points; empty for anything else."""
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    blob: bytes
    diff_id: str

    @property
    def descriptor(self) -> Descriptor:
        compressed = self.blob.startswith(b"\x1f\x8b")
        return _descriptor(manifest.OCI_LAYER_GZIP if compressed else manifest.OCI_LAYER, self.blob)


@dataclass(frozen=True, slots=True)
class History:
    """One line of `docker history`."""

    created_by: str
    has_layer: bool = True


@dataclass(frozen=True, slots=True)
class Built:
    """An image, or an index of images, with everything that must be shipped."""

    media_type: str
    body: bytes
    blobs: dict[str, bytes] = field(default_factory=dict)
    members: tuple["Built", ...] = ()
    platform: Platform | None = None

    @property
    def digest(self) -> str:
        return _sha256(self.body)


def layer(items: Iterable[Item], *, level: int = 6) -> Layer:
    """The items as one layer; compressed with gzip unless `level` is 0."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item in items:
            _add(tar, item)
    return layer_of(archive.getvalue(), level=level)


def layer_of(archive: bytes, *, level: int = 6) -> Layer:
    """A layer from a ready tar archive."""
    return Layer(gzip.compress(archive, level, mtime=0) if level else archive, _sha256(archive))


def directory_items(directory: Path, under: str = "") -> Iterator[Item]:
    """Everything in `directory`, in a fixed order, owned by root, to appear beneath `under`."""
    for path in sorted(directory.rglob("*")):
        name = f"{under.strip('/')}/{path.relative_to(directory)}".lstrip("/")
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            yield Item(name, target=str(path.readlink()))
        elif path.is_dir():
            yield Item(name, mode=mode, directory=True)
        elif path.is_file():
            yield Item(name, path, mode)


def image(layers: Sequence[Layer], config: ImageConfig) -> Built:
    """An OCI image of these layers, lowest first."""
    history = [History("orch") for _ in layers]
    config_body = configuration(config, [one.diff_id for one in layers], history)
    blobs = {one.descriptor.digest: one.blob for one in layers} | {_sha256(config_body): config_body}
    body = manifest_of(config_body, [one.descriptor for one in layers])
    platform = Platform(config.os or "linux", config.architecture or "amd64", config.variant)
    return Built(manifest.OCI_MANIFEST, body, blobs, platform=platform)


def manifest_of(config_body: bytes, layers: Sequence[Descriptor]) -> bytes:
    """The manifest of an image with this configuration and these layers, lowest first."""
    document = {
        "schemaVersion": 2,
        "mediaType": manifest.OCI_MANIFEST,
        "config": _words(_descriptor(manifest.OCI_CONFIG, config_body)),
        "layers": [_words(one) for one in layers],
    }
    return _json(document)


def index(images: Sequence[Built]) -> Built:
    """One name for several platforms."""
    entries = [
        _words(_descriptor(one.media_type, one.body)) | {"platform": _platform_words(one.platform)}
        for one in images
        if one.platform
    ]
    document = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": entries}
    return Built(manifest.OCI_INDEX, _json(document), members=tuple(images))


async def push(registry: Registry, ref: Reference, built: Built) -> str:
    """Ships an image, parts first, so that whoever sees the name finds everything; answers its digest."""
    for member in built.members:
        await push(registry, ref.pinned(member.digest), member)
    for digest, content in built.blobs.items():
        await registry.upload(ref, Descriptor("", digest, len(content)), content)
    return await registry.put_manifest(ref, built.media_type, built.body)


def write_archive(path: Path, built: Built, ref: Reference | None = None) -> None:
    """The image as an OCI layout in a tar, as `orch-agent --import` and skopeo read it."""
    entry: dict[str, object] = _words(_descriptor(built.media_type, built.body))
    if ref:
        entry["annotations"] = {
            "io.containerd.image.name": str(ref),
            "org.opencontainers.image.ref.name": ref.tag or "latest",
        }
    top = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": [entry]}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, Item("oci-layout", _json({"imageLayoutVersion": "1.0.0"})))
        _add(tar, Item("index.json", _json(top)))
        for digest, content in sorted(_everything(built).items()):
            _add(tar, Item(f"blobs/{digest.replace(':', '/')}", content))


def _everything(built: Built) -> dict[str, bytes]:
    found = built.blobs | {built.digest: built.body}
    for member in built.members:
        found |= _everything(member)
    return found


def _add(tar: tarfile.TarFile, item: Item) -> None:
    entry = tarfile.TarInfo(item.path)
    entry.mode, entry.uid, entry.gid = item.mode, item.uid, item.gid
    if item.target:
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, item.target, 0o777
        tar.addfile(entry)
    elif item.directory:
        entry.type, entry.mode = tarfile.DIRTYPE, item.mode | 0o111
        tar.addfile(entry)
    else:
        content = item.content.read_bytes() if isinstance(item.content, Path) else item.content
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


def configuration(
    config: ImageConfig, diff_ids: Sequence[str], history: Sequence[History], created: str = _EPOCH
) -> bytes:
    """The image configuration as it is shipped; `created` is a time of RFC 3339."""
    run: dict[str, object] = {
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.command),
        "Env": [f"{name}={value}" for name, value in config.environment],
        "User": config.user,
        "WorkingDir": config.working_dir,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Volumes": {volume: {} for volume in config.volumes},
        "StopSignal": config.stop_signal,
        "Labels": dict(config.labels),
        "Healthcheck": _health_check_words(config.health_check),
        "Shell": list(config.shell),
        "OnBuild": list(config.on_build),
    }
    document: dict[str, object] = {
        "created": created,
        "architecture": config.architecture or "amd64",
        "os": config.os or "linux",
        "config": {name: value for name, value in run.items() if value},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [_history_words(one, created) for one in history],
    }
    return _json(document | ({"variant": config.variant} if config.variant else {}))


def _history_words(one: History, created: str) -> dict[str, object]:
    words: dict[str, object] = {"created": created, "created_by": one.created_by}
    return words | ({} if one.has_layer else {"empty_layer": True})


def _health_check_words(check: image_config.HealthCheck | None) -> dict[str, object]:
    if check is None:
        return {}
    words = {
        "Test": list(check.test),
        "Interval": check.interval_ns,
        "Timeout": check.timeout_ns,
        "StartPeriod": check.start_period_ns,
        "StartInterval": check.start_interval_ns,
        "Retries": check.retries,
    }
    return {name: value for name, value in words.items() if value}


def _platform_words(platform: Platform) -> dict[str, str]:
    words = {"os": platform.os, "architecture": platform.architecture, "variant": platform.variant}
    return {name: value for name, value in words.items() if value}


def _descriptor(media_type: str, body: bytes) -> Descriptor:
    return Descriptor(media_type, _sha256(body), len(body))


def _words(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _sha256(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()
