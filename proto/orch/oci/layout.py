"""Images in a file: the tar of `docker save` or of an OCI layout, read for a registry, and written from one.

What is written is both at once: an OCI layout, and the manifest.json that `docker load` wants.
"""

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from orch.oci import build, manifest
from orch.oci.failure import bad_image
from orch.oci.manifest import Descriptor, Index, Manifest
from orch.oci.reference import Reference
from orch.oci.registry import Registry

_FULL_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Held:
    """One image of the archive."""

    names: tuple[str, ...]
    """As the archive writes them; empty for one without a name."""
    top: Descriptor
    """Of its manifest or index."""


class Archive:
    """An archive that is open: `with Archive(path) as archive`. Raises ImageFailure."""

    def __init__(self, path: Path) -> None:
        try:
            self._tar = tarfile.open(path, "r:")  # noqa: SIM115  closed by __exit__
        except tarfile.TarError:
            raise bad_image(f"{path} is not a plain tar archive (if it is compressed, gunzip it)") from None
        self._members = {member.name.removeprefix("./"): member for member in self._tar if not member.isdir()}
        self._made: dict[str, bytes] = {}
        self._packed: dict[str, IO[bytes]] = {}
        if "index.json" in self._members:
            self.images = self._of_layout()
        elif "manifest.json" in self._members:
            self.images = [self._of_docker(each) for each in self._docker_list()]
        else:
            raise bad_image(f"{path} is neither an archive of `docker save` nor an OCI layout")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()
        for file in self._packed.values():
            file.close()

    async def push(self, registry: Registry, held: Held, target: Reference) -> str:
        """Everything of one image, parts first; its digest. Raises ImageFailure."""
        body = self._small(held.top.digest)
        parsed = manifest.parse(body, held.top.media_type)
        match parsed:
            case Index(entries):
                for entry in entries:
                    if self._has(entry.descriptor.digest):
                        inner = target.pinned(entry.descriptor.digest)
                        await self.push(registry, Held((), entry.descriptor), inner)
            case Manifest(config=config, layers=layers):
                for blob in dict.fromkeys((*layers, config)):
                    if not await registry.has_blob(target, blob.digest):
                        await registry.upload(target, blob, self._read(blob.digest))
        return await registry.put_manifest(target, held.top.media_type, body)

    # -- an OCI layout ---------------------------------------------------------------------------------

    def _of_layout(self) -> list[Held]:
        index = json.loads(self._file("index.json"))
        found: dict[str, Held] = {}
        for entry in index.get("manifests") or []:
            top = Descriptor(str(entry["mediaType"]), str(entry["digest"]), int(entry["size"]))
            notes = entry.get("annotations") or {}
            name = str(notes.get(_FULL_NAME) or notes.get(_REF_NAME) or "")
            known = found.get(top.digest, Held((), top))
            found[top.digest] = Held((*known.names, name) if _is_a_name(name) else known.names, top)
        return list(found.values())

    # -- an archive of docker save, of before it wrote layouts ---------------------------------------

    def _docker_list(self) -> list[Mapping[str, Any]]:
        listed = json.loads(self._file("manifest.json"))
        if not isinstance(listed, list):
            raise bad_image("manifest.json in the archive is not what `docker save` writes")
        return listed

    def _of_docker(self, words: Mapping[str, Any]) -> Held:
        """Its layers are plain archives and it has no manifest: they are compressed, and it gets one."""
        config = self._file(str(words["Config"]))
        layers = [self._compressed(str(name)) for name in words["Layers"]]
        body = build.manifest_of(config, layers)
        for made in (config, body):
            self._made[_sha256(made)] = made
        top = Descriptor(manifest.OCI_MANIFEST, _sha256(body), len(body))
        return Held(tuple(str(name) for name in words.get("RepoTags") or ()), top)

    def _compressed(self, name: str) -> Descriptor:
        with self._open(name) as layer:
            magic = layer.read(4)
            layer.seek(0)
            packed = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
            is_packed = magic.startswith(_GZIP) or magic == _ZSTD
            if is_packed:
                _pour(layer, packed)
            else:
                with gzip.GzipFile(
                    filename="", mode="wb", fileobj=packed, compresslevel=6, mtime=0
                ) as zipped:
                    _pour(layer, zipped)
        size = packed.tell()
        packed.seek(0)
        digest = f"sha256:{hashlib.file_digest(packed, 'sha256').hexdigest()}"
        self._packed[digest] = packed
        kind = f"{manifest.OCI_LAYER}+zstd" if magic == _ZSTD else manifest.OCI_LAYER_GZIP
        return Descriptor(kind, digest, size)

    # -- bytes ---------------------------------------------------------------------------------------

    def _has(self, digest: str) -> bool:
        return digest in self._made or _place(digest) in self._members

    def _small(self, digest: str) -> bytes:
        body = self._made.get(digest) or self._file(_place(digest))
        if _sha256(body) != digest:
            raise bad_image(f"{digest} in the archive is not what its name says")
        return body

    async def _read(self, digest: str) -> AsyncIterator[bytes]:
        if digest in self._made:
            yield self._made[digest]
            return
        packed = self._packed.get(digest)
        file = packed or self._open(_place(digest))
        file.seek(0)
        while chunk := file.read(_CHUNK):
            yield chunk
        if packed is None:
            file.close()

    def _file(self, name: str) -> bytes:
        with self._open(name) as file:
            body = file.read(manifest.LARGEST_MANIFEST + 1)
        if len(body) > manifest.LARGEST_MANIFEST:
            raise bad_image(f"{name} in the archive is larger than 4 MiB")
        return body

    def _open(self, name: str) -> IO[bytes]:
        member = self._members.get(name.removeprefix("./"))
        file = self._tar.extractfile(member) if member else None
        if file is None:
            raise bad_image(f'the archive lacks "{name:.200}"')
        return file


async def write(registry: Registry, source: Reference, name: str, file: IO[bytes]) -> str:
    """The image with all its platforms into `file`, under `name`; its digest. Raises ImageFailure."""
    top = await registry.manifest(source)
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        loadable = await _Writing(registry, tar).image(source, top.media_type, top.body)
        notes = {_FULL_NAME: name, _REF_NAME: source.tag or "latest"}
        entry = {
            "mediaType": top.media_type,
            "digest": top.digest,
            "size": len(top.body),
            "annotations": notes,
        }
        index = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": [entry]}
        _add(tar, "index.json", json.dumps(index).encode())
        if loadable is not None:
            words = {
                "Config": _place(loadable.config.digest),
                "RepoTags": [] if "@" in name else [name],
                "Layers": [_place(layer.digest) for layer in loadable.layers],
            }
            _add(tar, "manifest.json", json.dumps([words]).encode())
    return top.digest


class _Writing:
    """Each blob once, as it comes."""

    def __init__(self, registry: Registry, tar: tarfile.TarFile) -> None:
        self._registry = registry
        self._tar = tar
        self._written: set[str] = set()

    async def image(self, ref: Reference, media_type: str, body: bytes) -> Manifest | None:
        """The image, when it is a single one: an older `docker load` knows no others."""
        parsed = manifest.parse(body, media_type)
        match parsed:
            case Index(entries):
                for entry in entries:
                    inner = ref.pinned(entry.descriptor.digest)
                    member = await self._registry.manifest(inner)
                    await self.image(inner, member.media_type, member.body)
            case Manifest(config=config, layers=layers):
                for blob in (*layers, config):
                    await self._blob(ref, blob)
        if (digest := _sha256(body)) not in self._written:
            self._written.add(digest)
            _add(self._tar, _place(digest), body)
        return parsed if isinstance(parsed, Manifest) else None

    async def _blob(self, ref: Reference, blob: Descriptor) -> None:
        """By way of a file: what is in a tar archive cannot be taken back when the content turns out wrong."""
        if blob.digest in self._written:
            return
        self._written.add(blob.digest)
        with tempfile.TemporaryFile() as file:
            found = hashlib.sha256()
            async for chunk in self._registry.blob(ref, blob):
                found.update(chunk)
                file.write(chunk)
            if f"sha256:{found.hexdigest()}" != blob.digest:
                raise bad_image(f"{blob.digest} of {ref.familiar} came with another content")
            file.seek(0)
            entry = tarfile.TarInfo(_place(blob.digest))
            entry.size, entry.mode = blob.size, 0o644
            self._tar.addfile(entry, file)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    tar.addfile(entry, io.BytesIO(content))


def _pour(source: IO[bytes], target: IO[bytes] | gzip.GzipFile) -> None:
    while chunk := source.read(_CHUNK):
        target.write(chunk)


def _is_a_name(text: str) -> bool:
    """A bare tag names no image."""
    return ":" in text or "/" in text


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _sha256(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()
