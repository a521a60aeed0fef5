"""Files of an image, found in its layers as overlayfs would merge them."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from agent.reconciler import image_files

pytestmark = pytest.mark.root


class Layers:
    """Directories as an unpacker leaves them, lowest first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.paths: list[Path] = []

    def add(self, **files: str) -> Path:
        """`etc__passwd="…"`: a file; a text that begins with -> is a link."""
        layer = self._directory / str(len(self.paths))
        layer.mkdir()
        for name, text in files.items():
            path = layer / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("->"):
                path.symlink_to(text[2:])
            else:
                path.write_text(text)
        self.paths.append(layer)
        return layer

    def read(self, path: str = "/etc/passwd") -> str:
        """And a mounted overlay must say the same."""
        layers = tuple(map(str, self.paths))
        found = image_files.read(layers, path)
        merged = self._directory / "merged"
        merged.mkdir(exist_ok=True)
        lower = ":".join([*reversed(layers), str(self._directory / "nothing")])
        (self._directory / "nothing").mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower}", merged], check=True)
        try:
            command = ["chroot", str(merged), "/busybox", "cat", path]
            (self._directory / "nothing" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
            (self._directory / "nothing" / "busybox").chmod(0o755)
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        finally:
            subprocess.run(["umount", merged], check=True)
        assert found == (done.stdout if done.returncode == 0 else "")
        return found


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def test_the_highest_layer_decides(layers: Layers) -> None:
    layers.add(etc__passwd="low", etc__group="only low")
    layers.add(etc__passwd="high")
    layers.add(other="x")

    assert layers.read() == "high"
    assert layers.read("/etc/group") == "only low"
    assert layers.read("/etc/nothing") == ""


def test_what_a_layer_hides_is_not_there(layers: Layers) -> None:
    layers.add(etc__passwd="low")
    hiding = layers.add(etc__group="g")
    os.mknod(hiding / "etc/passwd", stat.S_IFCHR, os.makedev(0, 0))
    assert layers.read() == ""

    layers.add(etc__passwd="again")
    assert layers.read() == "again"


def test_an_opaque_directory_hides_what_lay_in_it(layers: Layers) -> None:
    layers.add(etc__passwd="low")
    os.setxattr(layers.add(etc__group="g") / "etc", "trusted.overlay.opaque", b"y")

    assert layers.read() == ""
    assert layers.read("/etc/group") == "g"


def test_a_directory_that_became_a_file_has_nothing_in_it(layers: Layers) -> None:
    layers.add(etc__passwd="low")
    layers.add(etc="a file")

    assert layers.read() == ""


def test_links_lead_from_layer_to_layer_and_never_out(layers: Layers) -> None:
    layers.add(nix__store__passwd="of the store", etc__passwd="old")
    layers.add(etc__passwd="->/nix/store/passwd", a="->b", b="->a", out="->../../../../../../etc/hostname")
    layers.add(usr__etc__group="usr", linked="->usr/etc")

    assert layers.read() == "of the store"
    assert layers.read("/linked/group") == "usr"
    assert layers.read("/a") == ""
    assert layers.read("/out") == "", "the host has one, the image has none"
    assert layers.read("/etc/../nix/./store/passwd") == "of the store"


def test_what_is_no_plain_file_is_not_read(layers: Layers, tmp_path: Path) -> None:
    layer = layers.add(etc__group="g")
    os.mkfifo(layer / "etc/passwd")

    assert image_files.read((str(layer),), "/etc/passwd") == ""
    assert image_files.read((str(layer),), "/etc") == ""
