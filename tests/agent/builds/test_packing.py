"""The same tree gives the same archive, and the archive gives the tree again."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from agent.builds import packing
from agent.images import layers
from agent.images.limits import Limits

pytestmark = pytest.mark.root


def pack(directory: Path, latest: int | None = None, first_id: int = 0) -> tuple[packing.Packed, bytes]:
    blob = io.BytesIO()
    packed = packing.pack(str(directory), blob, latest, first_id)
    return packed, blob.getvalue()


def tree(directory: Path) -> Path:
    """One of everything that an upper directory may hold."""
    (directory / "b" / "deep").mkdir(parents=True)
    (directory / "a").write_text("one")
    (directory / "a").chmod(0o4755)
    os.link(directory / "a", directory / "b" / "twin")
    (directory / "b" / "link").symlink_to("../a")
    os.mkfifo(directory / "b" / "pipe")
    os.mknod(directory / "b" / "gone", 0o20000, os.makedev(0, 0))
    os.mknod(directory / "b" / "null", 0o20666, os.makedev(1, 3))
    os.setxattr(directory / "b" / "deep", "trusted.overlay.opaque", b"y")
    os.setxattr(
        directory / "a", "security.capability", bytes.fromhex("01000002" + "00040000" + "00000000" * 3)
    )
    os.chown(directory / "b" / "deep", 1000, 1001)
    return directory


def picture(directory: Path) -> dict[str, object]:
    """All that matters of a tree."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        about = path.lstat()
        names = os.listxattr(path, follow_symlinks=False)
        attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        target = str(path.readlink()) if path.is_symlink() else ""
        times = 0 if path.is_char_device() else int(about.st_mtime)
        found[str(path.relative_to(directory))] = (
            *(about.st_mode, about.st_uid, about.st_gid, about.st_nlink, about.st_rdev, times),
            *(attributes, content, target),
        )
    return found


def test_an_archive_unpacks_to_the_same_tree(tmp_path: Path) -> None:
    source = tree(tmp_path / "source")
    packed, blob = pack(source)
    (tmp_path / "again").mkdir(mode=0o755)

    expected = layers.Expected(len(blob), packed.digest, packed.diff_id)
    unpacked = layers.unpack(io.BytesIO(blob).read, str(tmp_path / "again"), expected, Limits())

    assert picture(tmp_path / "again") == picture(source)
    assert (packed.size, packed.length) == (len(blob), unpacked.size)


def test_whiteouts_speak_the_language_of_images(tmp_path: Path) -> None:
    _, blob = pack(tree(tmp_path / "source"))
    with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
        names = archive.getnames()

    assert "b/.wh.gone" in names
    assert "b/gone" not in names
    assert names.index("b/deep") < names.index("b/deep/.wh..wh..opq")


def test_owners_of_a_user_namespace_become_those_of_the_image(tmp_path: Path) -> None:
    plain, mapped = tree(tmp_path / "plain"), tree(tmp_path / "mapped")
    for path in mapped.rglob("*"):
        about = path.lstat()
        if about.st_uid < 100_000:  # the other name of a hard link is done already
            os.chown(path, about.st_uid + 100_000, about.st_gid + 100_000, follow_symlinks=False)
    (mapped / "a").chmod(0o4755)
    inside = bytes.fromhex("01000003" + "00040000" + "00000000" * 3) + (100_000).to_bytes(4, "little")
    os.setxattr(mapped / "a", "security.capability", inside)

    assert pack(mapped, latest=0, first_id=100_000)[0] == pack(plain, latest=0)[0]


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "first"), tree(tmp_path / "second")

    assert pack(first, latest=1_000_000)[0] == pack(second, latest=1_000_000)[0]


def test_a_change_of_mode_owner_or_content_is_another_layer(tmp_path: Path) -> None:
    source = tree(tmp_path / "source")
    before = pack(source, latest=0)[0].diff_id

    (source / "a").write_text("two")
    changed = pack(source, latest=0)[0].diff_id
    os.chown(source / "b", 5, 5)

    assert len({before, changed, pack(source, latest=0)[0].diff_id}) == 3
