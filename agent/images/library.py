"""The images of this node: each layer once, by the digest of its content.

A layer is used at once and made durable in the background, many of them with one flush.
"""

import contextlib
import hashlib
import shutil
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from agent.images import image
from agent.images.directory import Directory
from agent.images.image import Image, Layer, Stored
from orch.oci.reference import Reference


class Library:
    """The only writer of its directory.

    What looks answers from memory; what changes waits for the disk: call it in a thread.
    """

    def __init__(self, directory: Directory) -> None:
        """What is in the directory now; nobody else may write there."""
        self._directory = directory
        self._layers: dict[str, Layer] = {}
        self._unsettled: set[str] = set()
        self._has_loose_records = False
        for layer, is_settled in directory.layers():
            self._layers[layer.diff_id] = layer
            if not is_settled:
                self._unsettled.add(layer.diff_id)
        self._images = {each.digest: each for each in directory.images(self._layers)}
        named = directory.references()
        self._references = {ref: digest for ref, digest in named.items() if digest in self._images}
        self._held: Counter[str] = Counter()
        self._changing = threading.RLock()  # one change of the disk at a time; the event loop never takes it
        self._holding = threading.Lock()  # held for microseconds

    @classmethod
    def open(cls, directory: Path, *, boot: str | None = None) -> "Library":
        """The library in `directory`, freed of what a killed agent left half done."""
        boot = boot or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return cls(Directory.open(directory, boot))

    def close(self) -> None:
        self._directory.close()

    @property
    def directory(self) -> Path:
        """Where all of it lies."""
        return self._directory.path

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
        return tuple(str(self._directory.layer(diff_id)) for diff_id in _stack(tuple(diff_ids)))

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

    # Looking: on the disk

    def bodies(self, digest: str) -> tuple[bytes, bytes]:
        """Manifest and configuration as they were sent."""
        return self._directory.bodies(digest)

    def is_imported(self, digest: str) -> bool:
        """It came in a file: whether a registry has it, nobody knows."""
        return self._directory.is_imported(digest)

    def used_at(self, digest: str) -> float:
        """When the image was last pulled or seen in use, in seconds since 1970."""
        return self._directory.used_at(digest)

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
        return self._directory.new_layer()

    def adopt(self, unpacked: Path, diff_id: str, size: int) -> None:
        """The directory becomes the layer `diff_id`; its digest must have been verified."""
        layer = Layer(diff_id, size)
        with self._changing:
            if diff_id in self._layers:
                self.discard(unpacked)
                return
            self._directory.keep_layer(unpacked, layer)
            self._layers[diff_id] = layer
            self._unsettled.add(diff_id)

    def discard(self, path: Path) -> None:
        """Takes a directory out of sight and removes it; no matter if it was adopted meanwhile."""
        with self._changing:
            gone = self._directory.to_trash(path)
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
        stored = image.stored(digest, manifest_body, config_body)
        if missing := [d for d in stored.config.diff_ids if d not in self._layers]:
            raise RuntimeError(f"image {digest} lacks the layers {missing}")
        with self._changing:
            # A power cut now costs its new layers, so the record may go with them: `settle` flushes all.
            is_settled = self._unsettled.isdisjoint(stored.config.diff_ids)
            self._directory.keep_image(
                digest, manifest_body, config_body, is_imported=is_imported, flush=is_settled
            )
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
                self._directory.keep_references(named, flush_name=flush_name)

    def settle(self) -> None:
        """Makes new layers and their images durable: one flush of the file system for all of them."""
        with self._changing:
            fresh = set(self._unsettled)
            if not fresh and not self._has_loose_records:
                return
            self._has_loose_records = False
        self._directory.flush()
        with self._changing:
            for diff_id in fresh & self._unsettled:
                self._directory.believe(self._layers[diff_id])
                self._unsettled.discard(diff_id)

    def touch(self, digest: str) -> None:
        """It is in use now; no matter if it is gone meanwhile."""
        self._directory.touch(digest)

    # Removing

    def forget(self, ref: Reference) -> str | None:
        """Takes the name away; answers the digest of an image that has no tag left."""
        with self._changing:
            digest = self._references.pop(_key(ref), None)
            if digest:
                self._directory.keep_references(self._references)
            tagged = any("@" not in reference for reference in self.references_of(digest or ""))
            return None if tagged else digest

    def remove(self, digest: str) -> None:
        """Removes an image, and the layers that no other image uses. It must not be running."""
        with self._changing:
            if not self._images.pop(digest, None):
                return
            self._references = {ref: found for ref, found in self._references.items() if found != digest}
            self._directory.keep_references(self._references)
            self._directory.forget_image(digest)
        self.remove_unused_layers()

    def remove_unused_layers(self, older_than: float = 0.0) -> None:
        """Those that came `older_than` seconds ago or earlier: of a pull that broke off the next one makes use."""
        with self._changing:
            gone = [self._directory.forget_layer(diff_id) for diff_id in self._take_unused(older_than)]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)

    def _take_unused(self, older_than: float) -> list[str]:
        came_before = time.time() - older_than
        used = {diff_id for stored in self._images.values() for diff_id in stored.config.diff_ids}
        with self._holding:
            unused = [d for d in self._layers if d not in used and d not in self._held]
            unused = [d for d in unused if not older_than or self._directory.came_at(d) <= came_before]
            for diff_id in unused:
                del self._layers[diff_id]
                self._unsettled.discard(diff_id)
        return unused

    def empty_trash(self) -> None:
        self._directory.empty_trash()


def _stack(diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """Each layer once: overlayfs refuses a directory given twice, and the topmost hides the others anyway."""
    return tuple(reversed(dict.fromkeys(reversed(diff_ids))))


def _key(ref: Reference) -> str:
    return str(ref.pinned(ref.digest) if ref.digest else ref)
