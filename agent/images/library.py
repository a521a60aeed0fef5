"""Images on disk: each layer once, by the digest of its content.

    layers/<id>/          the unpacked layer; <id> is 24 digits of its diff id, short because 127
                          of them must fit into one mount's options
    layers/<id>.json      its marker, written last: without it the layer does not exist
    images/<digest>.json  manifest and configuration as the registry sent them
    references.json       reference → image
    incoming/  trash/     what is not there yet, what is there no more

A layer is used at once and made durable in the background: its marker says in which boot it was
written, and a layer never made durable is not believed by a later boot.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.images import record
from orch.oci import image_config, manifest
from orch.oci.failure import ImageFailure, bad_image
from orch.oci.image_config import ImageConfig
from orch.oci.manifest import Manifest
from orch.oci.reference import Reference

_ID_DIGITS = 24


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


class Library:
    """The only writer of its directory, as a lock assures.

    What looks answers from memory; what changes waits for the disk: call it in a thread.
    """

    def __init__(self, directory: Path, boot: str) -> None:
        self._directory = directory
        self._boot = boot
        self._lock = -1
        self._layers: dict[str, Layer] = {}
        self._unsettled: set[str] = set()
        self._has_loose_records = False
        self._images: dict[str, Stored] = {}
        self._references: dict[str, str] = {}
        self._held: Counter[str] = Counter()
        self._changing = threading.RLock()  # one change of the disk at a time; the event loop never takes it
        self._holding = threading.Lock()  # held for microseconds

    @classmethod
    def open(cls, directory: Path, *, boot: str | None = None) -> "Library":
        """The library in `directory`, freed of what a killed agent left half done."""
        library = cls(directory, boot or Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        for name in ("layers", "images", "incoming", "trash"):
            (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)  # setuid files and devices of strangers lie below
        library._take_lock()
        library._throw_away_leftovers()
        library._read()
        return library

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def directory(self) -> Path:
        """Where all of it lies."""
        return self._directory

    # Looking: from memory

    def find(self, ref: Reference) -> Image | None:
        digest = self._references.get(_key(ref))
        return self.image(digest, str(ref)) if digest else None

    def image(self, digest: str, reference: str) -> Image | None:
        """The image with this manifest digest, under the name `reference`."""
        stored = self._images.get(digest)
        return self._image(stored, reference) if stored else None

    def _image(self, stored: Stored, reference: str) -> Image:
        return Image(reference, stored.digest, stored.config, self.stack(stored.config.diff_ids))

    def stack(self, diff_ids: Sequence[str]) -> tuple[str, ...]:
        """Directories of these layers, lowest first, each once."""
        return tuple(str(self._layer_path(diff_id)) for diff_id in _stack(tuple(diff_ids)))

    def has_layer(self, diff_id: str) -> bool:
        return diff_id in self._layers

    @property
    def has_unsettled(self) -> bool:
        """Whether a power cut now would cost a layer or an image."""
        return bool(self._unsettled) or self._has_loose_records

    @property
    def images(self) -> tuple[Stored, ...]:
        return tuple(self._images.values())

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(self._layers.values())

    def references_of(self, digest: str) -> tuple[str, ...]:
        return tuple(sorted(reference for reference, found in self._references.items() if found == digest))

    def bodies(self, digest: str) -> tuple[bytes, bytes]:
        """Manifest and configuration as they were sent."""
        words = record.read(self._record(digest))
        return str(words["manifest"]).encode(), str(words["config"]).encode()

    def is_imported(self, digest: str) -> bool:
        """It came in a file: whether a registry has it, nobody knows."""
        return bool(record.read(self._record(digest)).get("imported"))

    def used_at(self, digest: str) -> float:
        """When the image was last pulled or seen in use, in seconds since 1970."""
        return self._record(digest).stat().st_mtime

    # Adding

    @contextlib.contextmanager
    def holding(self, diff_ids: Collection[str]) -> Iterator[None]:
        """Layers somebody is about to use are not removed, although no image names them yet."""
        with self._holding:
            self._held.update(diff_ids)
        try:
            yield
        finally:
            with self._holding:
                self._held.subtract(diff_ids)
                self._held += Counter()

    def new_layer(self) -> Path:
        """An empty directory to unpack into."""
        path = Path(tempfile.mkdtemp(dir=self._directory / "incoming"))
        path.chmod(0o755)
        return path

    def adopt(self, unpacked: Path, diff_id: str, size: int) -> None:
        """The directory becomes the layer `diff_id`; its digest must have been verified."""
        with self._changing:
            if diff_id in self._layers:
                self.discard(unpacked)
                return
            unpacked.rename(self._layer_path(diff_id))
            self._mark(Layer(diff_id, size), settled=False)
            self._layers[diff_id] = Layer(diff_id, size)
            self._unsettled.add(diff_id)

    def discard(self, path: Path) -> None:
        """Takes a directory out of sight and removes it; no matter if it was adopted meanwhile."""
        with self._changing:
            gone = self._to_trash(path)
        shutil.rmtree(gone, ignore_errors=True)

    def add(
        self,
        manifest_body: bytes,
        config_body: bytes,
        references: Sequence[Reference],
        *,
        is_imported: bool = False,
    ) -> Image:
        """Records an image whose layers are all here, under each of these names."""
        digest = "sha256:" + hashlib.sha256(manifest_body).hexdigest()
        stored = _stored(digest, manifest_body, config_body)
        if missing := [d for d in stored.config.diff_ids if d not in self._layers]:
            raise RuntimeError(f"image {digest} lacks the layers {missing}")
        words: dict[str, object] = {"manifest": manifest_body.decode(), "config": config_body.decode()}
        if is_imported:
            words["imported"] = True
        with self._changing:
            # A power cut now costs its new layers, so the record may go with them: `settle` flushes all.
            is_settled = self._unsettled.isdisjoint(stored.config.diff_ids)
            record.replace(self._record(digest), words, flush=is_settled)
            self._images[digest] = stored
            self._name(digest, references, flush_name=is_settled)
            self._has_loose_records |= not is_settled
        return self._image(stored, str(references[0]) if references else digest)

    def name(self, digest: str, references: Iterable[Reference]) -> None:
        """Lets the references stand for this image from now on."""
        self._name(digest, references, flush_name=True)

    def _name(self, digest: str, references: Iterable[Reference], *, flush_name: bool) -> None:
        with self._changing:
            named = self._references | {_key(ref): digest for ref in references}
            if named != self._references:
                self._references = named
                record.replace(self._directory / "references.json", named, flush_name=flush_name)

    def settle(self) -> None:
        """Makes new layers and their images durable: one flush of the file system for all of them."""
        with self._changing:
            fresh = set(self._unsettled)
            if not fresh and not self._has_loose_records:
                return
            self._has_loose_records = False
        subprocess.run(["sync", "-f", str(self._directory)], check=True)
        with self._changing:
            for diff_id in fresh & self._unsettled:
                self._mark(self._layers[diff_id], settled=True)
                self._unsettled.discard(diff_id)

    # Removing

    def forget(self, ref: Reference) -> str | None:
        """Takes the name away; answers the digest of an image that has no tag left."""
        with self._changing:
            digest = self._references.pop(_key(ref), None)
            if digest:
                record.replace(self._directory / "references.json", self._references)
            tagged = any("@" not in reference for reference in self.references_of(digest or ""))
            return None if tagged else digest

    def touch(self, digest: str) -> None:
        """It is in use now; no matter if it is gone meanwhile."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._record(digest))

    def remove(self, digest: str) -> None:
        """Removes an image, and the layers that no other image uses. It must not be running."""
        with self._changing:
            if not self._images.pop(digest, None):
                return
            self._references = {ref: found for ref, found in self._references.items() if found != digest}
            record.replace(self._directory / "references.json", self._references)
            self._record(digest).unlink(missing_ok=True)
        self.remove_unused_layers()

    def remove_unused_layers(self, older_than: float = 0.0) -> None:
        """Those that came `older_than` seconds ago or earlier: of a pull that broke off the next one makes use."""
        with self._changing:
            gone = [self._put_out_of_sight(diff_id) for diff_id in self._take_unused(older_than)]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)

    def _take_unused(self, older_than: float) -> list[str]:
        came_before = time.time() - older_than
        used = {diff_id for stored in self._images.values() for diff_id in stored.config.diff_ids}
        with self._holding:
            unused = [d for d in self._layers if d not in used and d not in self._held]
            unused = [d for d in unused if not older_than or self._marker(d).stat().st_mtime <= came_before]
            for diff_id in unused:
                del self._layers[diff_id]
                self._unsettled.discard(diff_id)
        return unused

    def _put_out_of_sight(self, diff_id: str) -> Path:
        self._marker(diff_id).unlink(missing_ok=True)
        return self._to_trash(self._layer_path(diff_id))

    def _to_trash(self, path: Path) -> Path:
        gone = Path(tempfile.mkdtemp(dir=self._directory / "trash"))
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone / "gone")
        return gone

    def empty_trash(self) -> None:
        for path in (self._directory / "trash").iterdir():
            shutil.rmtree(path, ignore_errors=True)

    # On disk

    def _take_lock(self) -> None:
        self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RuntimeError(
                f"{self._directory} is in use by another agent: give each agent its own --state"
            ) from None

    def _throw_away_leftovers(self) -> None:
        """An unpacker orphaned a moment ago may still write into its directory: it may, out of sight."""
        leftovers = [*(self._directory / "incoming").iterdir(), *self._unfinished_files()]
        for marker in (self._directory / "layers").glob("*.json"):
            words = record.read(marker)
            if not words.get("settled") and words.get("boot") != self._boot:
                marker.unlink()
        layers = [path for path in (self._directory / "layers").iterdir() if path.is_dir()]
        leftovers += [path for path in layers if not path.with_suffix(".json").exists()]
        for path in leftovers:
            self._to_trash(path)

    def _unfinished_files(self) -> Iterator[Path]:
        for folder in (self._directory, self._directory / "layers", self._directory / "images"):
            yield from folder.glob(f"*{record.UNFINISHED}")

    def _read(self) -> None:
        for marker in (self._directory / "layers").glob("*.json"):
            words = record.read(marker)
            layer = Layer(str(words["diff_id"]), int(str(words["size"])))
            if self._layer_path(layer.diff_id).is_dir():
                self._layers[layer.diff_id] = layer
                if not words["settled"]:
                    self._unsettled.add(layer.diff_id)
            else:
                marker.unlink()
        for path in (self._directory / "images").glob("*.json"):
            self._read_image(path)
        known = record.read(self._directory / "references.json")
        self._references = {ref: str(digest) for ref, digest in known.items() if digest in self._images}

    def _read_image(self, path: Path) -> None:
        """A record that is not whole, or lacks a layer, is no image: it will be pulled again."""
        words = record.read(path)
        digest = f"sha256:{path.stem}"
        with contextlib.suppress(ImageFailure):
            stored = _stored(digest, str(words.get("manifest")).encode(), str(words.get("config")).encode())
            if all(diff_id in self._layers for diff_id in stored.config.diff_ids):
                self._images[digest] = stored
                return
        path.unlink()

    def _mark(self, layer: Layer, *, settled: bool) -> None:
        words = {"diff_id": layer.diff_id, "size": layer.size, "boot": self._boot, "settled": settled}
        # Not flushed: a marker lost in a power cut means a layer to be pulled again, nothing worse.
        record.replace(self._marker(layer.diff_id), words, flush=False)

    def _layer_path(self, diff_id: str) -> Path:
        return self._directory / "layers" / diff_id.removeprefix("sha256:")[:_ID_DIGITS]

    def _marker(self, diff_id: str) -> Path:
        return self._layer_path(diff_id).with_suffix(".json")

    def _record(self, digest: str) -> Path:
        return self._directory / "images" / f"{digest.removeprefix('sha256:')}.json"


def _stack(diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """Each layer once: overlayfs refuses a directory given twice, and the topmost hides the others anyway."""
    return tuple(reversed(dict.fromkeys(reversed(diff_ids))))


def _key(ref: Reference) -> str:
    return str(ref.pinned(ref.digest) if ref.digest else ref)


def _stored(digest: str, manifest_body: bytes, config_body: bytes) -> Stored:
    parsed = manifest.parse(manifest_body)
    if not isinstance(parsed, Manifest):
        raise bad_image(f"{digest} is an index, not an image")
    return Stored(digest, parsed, image_config.read(config_body))
