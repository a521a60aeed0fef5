"""Files with holes: as GNU tar stores them, and as nobody should."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from agent.images import layers
from agent.images.layers import Expected
from agent.images.limits import Limits
from orch.oci.failure import ImageFailure
from tests.support.archives import archive, member

pytestmark = pytest.mark.root

PAGE = 4096
LENGTH = 40 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "layer").mkdir()
    return tmp_path / "layer"


def unpack(blob: bytes, root: Path, limits: Limits | None = None) -> None:
    layers.unpack(io.BytesIO(blob).read, str(root), Expected(len(blob)), limits or Limits())


def a_file_with_holes(path: Path, parts: int) -> bytes:
    """Of random pages far apart, the last one before a hole; its content."""
    with path.open("wb") as file:
        for number in range(parts):
            file.seek(number * (LENGTH // parts) + PAGE)
            file.write(os.urandom(PAGE))
        file.truncate(LENGTH)
    return path.read_bytes()


@pytest.mark.parametrize("parts", [0, 1, 3, 60])
@pytest.mark.parametrize("form", ["gnu", "posix --sparse-version=0.1", "posix --sparse-version=1.0"])
def test_what_gnu_tar_stores_of_a_file_with_holes_is_that_file_again(
    form: str, parts: int, root: Path, tmp_path: Path
) -> None:
    content = a_file_with_holes(tmp_path / "holes", parts)
    (tmp_path / "after").write_text("what follows")
    command = f"tar --sparse --format={form} -cf archive.tar holes after"
    subprocess.run(command.split(), cwd=tmp_path, check=True)

    unpack((tmp_path / "archive.tar").read_bytes(), root)

    assert (root / "holes").read_bytes() == content
    assert (root / "holes").stat().st_blocks * 512 < LENGTH / 2
    assert (root / "after").read_text() == "what follows"
    assert sorted(path.name for path in root.iterdir()) == ["after", "holes"]


def test_zeros_that_were_stored_take_no_room(root: Path) -> None:
    content = b"begin" + bytes(8 << 20) + b"amid" + bytes(8 << 20)

    unpack(archive([member("f", content), member("small", bytes(PAGE))]), root)

    assert (root / "f").read_bytes() == content
    assert (root / "f").stat().st_blocks * 512 < 2 << 20
    assert (root / "small").read_bytes() == bytes(PAGE)


def with_map(numbers: str, stored: bytes, realsize: str = "1000") -> bytes:
    headers = {"GNU.sparse.map": numbers, "GNU.sparse.size": realsize, "GNU.sparse.name": "f"}
    return archive([member("GNUSparseFile.1/f", stored, pax=headers)])


def of_type_s() -> bytes:
    """A header that promises more blocks of its map, and no end of them."""
    info = tarfile.TarInfo("f")
    info.type = b"S"
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + (b"\0" * 504 + b"\1" + bytes(7)) * 5000


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (with_map("10,5,0,5", b"x" * 10), "overlap"),
        (with_map("0,5,998,5", b"x" * 10), "beyond its end"),
        (with_map("0,5", b"x" * 10), "not what is stored"),
        (with_map("0,10", b"x" * 10, str(1 << 60)), "the limit"),
        (with_map("0,10,3", b"x" * 10), "damaged"),
        (with_map("0,-10", b"x" * 10), "damaged"),
        (with_map("0," + "9" * 30, b"x" * 10), "damaged"),
        (archive([member("f", b"x", pax={"GNU.sparse.numblocks": "1"})]), "a way of 2004"),
        (archive([member("f", b"1" * 600, pax={"GNU.sparse.major": "1"})]), "does not end"),
        (archive([member("f", b"9" * 20 + b"\n" + bytes(491), pax={"GNU.sparse.major": "1"})]), "damaged"),
        (of_type_s(), "does not end"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(blob: bytes, why: str, root: Path) -> None:
    with pytest.raises(ImageFailure, match=why):
        unpack(blob, root)
