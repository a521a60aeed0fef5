"""The library's directory: what lies where, and in which words.

    layers/<id>/          the unpacked layer; <id> is 24 digits of its diff id, short because 127
                          of them must fit into one mount's options
    layers/<id>.json      its marker, written last: without it the layer does not exist
    images/<digest>.json  manifest and configuration as the registry sent them
    references.json       reference → image
    incoming/  trash/     what is not there yet, what is there no more
    lock                  held by the one agent that may write

A marker says in which boot its layer was written: one that was never made durable is not believed by a later boot.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from agent.images import image, record
from agent.images.image import Layer, Stored
from orch.oci.failure import ImageFailure

_ID_DIGITS = 24


class Directory:
    """One agent's. Knows nothing by heart: what is where is the library's to know."""

    def __init__(self, path: Path, boot: str) -> None:
        """Use `open`."""
        self.path = path
        self._boot = boot
        self._lock = -1

    @classmethod
    def open(cls, path: Path, boot: str) -> "Directory":
        """Freed of what a killed agent left half done. Raises RuntimeError while another agent has it."""
        directory = cls(path, boot)
        for name in ("layers", "images", "incoming", "trash"):
            (path / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)  # setuid files and devices of strangers lie below
        directory._take_lock()
        directory._throw_away_leftovers()
        return directory

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def flush(self) -> None:
        """All that was written, durable at once."""
        subprocess.run(["sync", "-f", str(self.path)], check=True)

    # Layers

    def layers(self) -> Iterator[tuple[Layer, bool]]:
        """Each that is here, and whether it is durable. A marker without its layer goes."""
        for marker in (self.path / "layers").glob("*.json"):
            words = record.read(marker)
            layer = Layer(str(words["diff_id"]), int(str(words["size"])))
            if self.layer(layer.diff_id).is_dir():
                yield layer, bool(words["settled"])
            else:
                marker.unlink()

    def layer(self, diff_id: str) -> Path:
        return self.path / "layers" / diff_id.removeprefix("sha256:")[:_ID_DIGITS]

    def new_layer(self) -> Path:
        """An empty directory to unpack into."""
        path = Path(tempfile.mkdtemp(dir=self.path / "incoming"))
        path.chmod(0o755)
        return path

    def keep_layer(self, unpacked: Path, layer: Layer) -> None:
        """The directory is the layer from now on."""
        unpacked.rename(self.layer(layer.diff_id))
        self._mark(layer, settled=False)

    def believe(self, layer: Layer) -> None:
        """It was flushed: a later boot has it too."""
        self._mark(layer, settled=True)

    def came_at(self, diff_id: str) -> float:
        """Seconds since 1970."""
        return self._marker(diff_id).stat().st_mtime

    def forget_layer(self, diff_id: str) -> Path:
        """It is not here any more; answers what is left to be removed."""
        self._marker(diff_id).unlink(missing_ok=True)
        return self.to_trash(self.layer(diff_id))

    def to_trash(self, path: Path) -> Path:
        """Out of sight at once, if it is there; answers what is left to be removed."""
        gone = Path(tempfile.mkdtemp(dir=self.path / "trash"))
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone / "gone")
        return gone

    def empty_trash(self) -> None:
        for path in (self.path / "trash").iterdir():
            shutil.rmtree(path, ignore_errors=True)

    # Images

    def images(self, layers: Collection[str]) -> Iterator[Stored]:
        """A record that is not whole, or lacks one of these layers, is no image and goes: it will be pulled again."""
        for path in (self.path / "images").glob("*.json"):
            found = _image(path)
            if found and all(diff_id in layers for diff_id in found.config.diff_ids):
                yield found
            else:
                path.unlink()

    def keep_image(
        self, digest: str, manifest_body: bytes, config_body: bytes, *, is_imported: bool, flush: bool
    ) -> None:
        words: dict[str, object] = {"manifest": manifest_body.decode(), "config": config_body.decode()}
        if is_imported:
            words["imported"] = True
        record.replace(self._record(digest), words, flush=flush)

    def bodies(self, digest: str) -> tuple[bytes, bytes]:
        """Manifest and configuration as they were sent."""
        words = record.read(self._record(digest))
        return str(words["manifest"]).encode(), str(words["config"]).encode()

    def is_imported(self, digest: str) -> bool:
        return bool(record.read(self._record(digest)).get("imported"))

    def used_at(self, digest: str) -> float:
        """Seconds since 1970: when the image came, or was touched last."""
        return self._record(digest).stat().st_mtime

    def touch(self, digest: str) -> None:
        """It is in use now; no matter if it is gone meanwhile."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._record(digest))

    def forget_image(self, digest: str) -> None:
        self._record(digest).unlink(missing_ok=True)

    # Names

    def references(self) -> dict[str, str]:
        """Reference → manifest digest; the image need not be here."""
        return {ref: str(digest) for ref, digest in record.read(self.path / "references.json").items()}

    def keep_references(self, named: Mapping[str, str], *, flush_name: bool = True) -> None:
        record.replace(self.path / "references.json", named, flush_name=flush_name)

    # Opening

    def _take_lock(self) -> None:
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RuntimeError(
                f"{self.path} is in use by another agent: give each agent its own --state-dir"
            ) from None

    def _throw_away_leftovers(self) -> None:
        """An unpacker orphaned a moment ago may still write into its directory: it may, out of sight."""
        leftovers = [*(self.path / "incoming").iterdir(), *self._unfinished_files()]
        for marker in (self.path / "layers").glob("*.json"):
            words = record.read(marker)
            if not words.get("settled") and words.get("boot") != self._boot:
                marker.unlink()
        layers = [path for path in (self.path / "layers").iterdir() if path.is_dir()]
        leftovers += [path for path in layers if not path.with_suffix(".json").exists()]
        for path in leftovers:
            self.to_trash(path)

    def _unfinished_files(self) -> Iterator[Path]:
        for folder in (self.path, self.path / "layers", self.path / "images"):
            yield from folder.glob(f"*{record.UNFINISHED}")

    def _mark(self, layer: Layer, *, settled: bool) -> None:
        words = {"diff_id": layer.diff_id, "size": layer.size, "boot": self._boot, "settled": settled}
        # Not flushed: a marker lost in a power cut means a layer to be pulled again, nothing worse.
        record.replace(self._marker(layer.diff_id), words, flush=False)

    def _marker(self, diff_id: str) -> Path:
        return self.layer(diff_id).with_suffix(".json")

    def _record(self, digest: str) -> Path:
        return self.path / "images" / f"{digest.removeprefix('sha256:')}.json"


def _image(path: Path) -> Stored | None:
    words = record.read(path)
    manifest_body, config_body = (str(words.get(part)).encode() for part in ("manifest", "config"))
    try:
        return image.stored(f"sha256:{path.stem}", manifest_body, config_body)
    except ImageFailure:
        return None
