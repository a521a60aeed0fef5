"""Images from a file: the tar of `docker save`, or an OCI layout in a tar."""

import asyncio
import hashlib
import json
import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from agent.images import tar
from agent.images.image import Image
from agent.images.library import Library
from agent.images.limits import Limits
from agent.images.unpacking import Unpackers
from orch.oci import image_config, manifest, reference
from orch.oci.failure import ImageFailure, bad_image
from orch.oci.manifest import Descriptor, Index, Manifest, Platform
from orch.oci.reference import Reference

_MOST_MEMBERS = 100_000
_MOST_IMAGES = 1000
_FULL_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside the archive: where its bytes are."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Layer:
    member: Member
    diff_id: str
    digest: str
    """As shipped; empty where the archive does not say."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One image of the archive and where its parts lie."""

    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]
    references: tuple[Reference, ...]


async def import_tar(
    path: Path, library: Library, platform: Platform, limits: Limits, unpackers: Unpackers
) -> list[Image]:
    """Every image of the archive, added to the library."""
    plans = await asyncio.to_thread(read, path, platform)
    images = []
    for plan in plans:
        with library.holding([layer.diff_id for layer in plan.layers]):
            for layer in plan.layers:
                if not library.has_layer(layer.diff_id):
                    await _unpack(path, layer, library, limits, unpackers)
            added = asyncio.to_thread(
                library.add, plan.manifest, plan.config, plan.references, is_imported=True
            )
            images.append(await added)
    return images


def read(path: Path, platform: Platform) -> list[Plan]:
    """What is in the archive; layers are only located, not read."""
    with path.open("rb") as file:
        contents = _Contents(file)
        if "index.json" in contents.members:
            plans = _oci_plans(contents, platform)
        elif "manifest.json" in contents.members:
            plans = _docker_plans(contents)
        else:
            raise bad_image(f"{path.name} is neither an archive of `docker save` nor an OCI layout")
    if not plans:
        raise bad_image(f"{path.name} holds no image for {platform}")
    return plans


async def _unpack(path: Path, layer: Layer, library: Library, limits: Limits, unpackers: Unpackers) -> None:
    root = await asyncio.to_thread(library.new_layer)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.lseek(fd, layer.member.offset, os.SEEK_SET)
        size = await unpackers.from_file(
            fd, root, size=layer.member.size, digest=layer.digest, diff_id=layer.diff_id, limits=limits
        )
        await asyncio.to_thread(library.adopt, root, layer.diff_id, size)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(library.discard, root))
        raise
    finally:
        os.close(fd)


class _Contents:
    """The archive's table of contents."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._links: dict[str, str] = {}
        self.members: dict[str, Member] = {}
        if file.read(2) == b"\x1f\x8b":
            raise bad_image("the archive is compressed: unpack it first (gunzip)")
        file.seek(0)
        source = _Seekable(file)
        for entry in tar.entries(source, Limits(entries=_MOST_MEMBERS)):
            name = posixpath.normpath(entry.name)
            if entry.holes:
                raise bad_image(f'"{name:.200}" in the archive has holes: pack it without --sparse')
            if entry.kind is tar.Kind.FILE:
                self.members[name] = Member(source.position, entry.size)
            elif entry.kind is tar.Kind.SYMLINK:
                self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.target))

    def member(self, name: str) -> Member:
        name = posixpath.normpath(name)
        found = self.members.get(self._links.get(name, name))
        if not found:
            raise bad_image(f'the archive lacks "{name:.200}"')
        return found

    def json(self, name: str) -> bytes:
        member = self.member(name)
        if member.size > manifest.LARGEST_MANIFEST:
            raise bad_image(f'"{name:.200}" in the archive is larger than 4 MiB')
        self._file.seek(member.offset)
        return self._file.read(member.size)

    def blob(self, descriptor: Descriptor) -> bytes:
        body = self.json(_blob_path(descriptor.digest))
        if "sha256:" + hashlib.sha256(body).hexdigest() != descriptor.digest:
            raise bad_image(f"{descriptor.digest} in the archive is not what its name says")
        return body


class _Seekable:
    """A tar source that jumps over contents."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    @property
    def position(self) -> int:
        return self._file.tell()

    def take(self, count: int) -> bytes:
        return self._file.read(count)

    def skip(self, count: int) -> None:
        self._file.seek(min(self._size, self._file.tell() + count))


def _oci_plans(contents: _Contents, platform: Platform) -> list[Plan]:
    index = manifest.parse(contents.json("index.json"), manifest.OCI_INDEX)
    if not isinstance(index, Index) or len(index.entries) > _MOST_IMAGES:
        raise bad_image("index.json in the archive is not an index of images")
    return [
        _oci_plan(contents, entry.descriptor, _named(entry.annotations), platform)
        for entry in index.entries
        if not entry.platform or entry.platform.architecture in {platform.architecture, ""}
    ]


def _oci_plan(
    contents: _Contents, named: Descriptor, references: Sequence[Reference], platform: Platform
) -> Plan:
    body = contents.blob(named)
    parsed = manifest.parse(body, named.media_type)
    chosen = named
    if isinstance(parsed, Index):
        chosen = manifest.choose(parsed, platform)
        body = contents.blob(chosen)
        parsed = manifest.parse(body, chosen.media_type)
    if not isinstance(parsed, Manifest):
        raise bad_image("an index in the archive leads to another index, not to an image")
    config = contents.blob(parsed.config)
    diff_ids = image_config.read(config).diff_ids
    if len(diff_ids) != len(parsed.layers):
        raise bad_image(
            f"an image in the archive has {len(parsed.layers)} layers and {len(diff_ids)} diff ids"
        )
    layers = tuple(
        Layer(contents.member(_blob_path(layer.digest)), diff_id, layer.digest)
        for layer, diff_id in zip(parsed.layers, diff_ids, strict=True)
    )
    pinned = {ref.pinned(digest) for ref in references for digest in (named.digest, chosen.digest)}
    return Plan(body, config, layers, (*references, *sorted(pinned, key=str)))


def _named(annotations: Mapping[str, str]) -> tuple[Reference, ...]:
    """A bare tag as ref.name ("1.0") names no image."""
    for text in (annotations.get(_FULL_NAME, ""), annotations.get(_REF_NAME, "")):
        if text and (":" in text or "/" in text):
            try:
                return (reference.parse(text),)
            except ImageFailure:
                continue
    return ()


def _docker_plans(contents: _Contents) -> list[Plan]:
    try:
        listed = json.loads(contents.json("manifest.json"))
        images = [(str(i["Config"]), [str(x) for x in i["Layers"]], i.get("RepoTags") or []) for i in listed]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise bad_image("manifest.json in the archive is not what `docker save` writes") from None
    return [_docker_plan(contents, config, layers, tags) for config, layers, tags in images[:_MOST_IMAGES]]


def _docker_plan(contents: _Contents, config_name: str, layer_names: list[str], tags: list[Any]) -> Plan:
    config = contents.json(config_name)
    diff_ids = image_config.read(config).diff_ids
    if len(diff_ids) != len(layer_names):
        raise bad_image(f"an image in the archive has {len(layer_names)} layers and {len(diff_ids)} diff ids")
    members = [contents.member(name) for name in layer_names]
    references = tuple(reference.parse(str(tag)) for tag in tags)
    body = _manifest_for(config, [(m.size, d) for m, d in zip(members, diff_ids, strict=True)])
    layers = tuple(Layer(member, diff_id, "") for member, diff_id in zip(members, diff_ids, strict=True))
    return Plan(body, config, layers, references)


def _manifest_for(config: bytes, layers: Sequence[tuple[int, str]]) -> bytes:
    """`docker save` wrote none: the one these layers would have, so that the image has a digest."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": manifest.OCI_MANIFEST,
            "config": {
                "mediaType": manifest.OCI_CONFIG,
                "digest": "sha256:" + hashlib.sha256(config).hexdigest(),
                "size": len(config),
            },
            "layers": [
                {"mediaType": manifest.OCI_LAYER, "digest": diff_id, "size": size} for size, diff_id in layers
            ],
        }
    ).encode()


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
