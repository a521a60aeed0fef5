"""Packing and unpacking: all that was there comes out again, and nothing leaves the target."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orch.archive import destination, pack, unpack
from orch.archive.failure import CopyFailed

Entry = tuple[str, bytes, str, bytes]
"""Name, type, link target, content."""


def a_tar(*entries: Entry) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, link, content in entries:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, len(content)
            archive.addfile(member, io.BytesIO(content))
    out.seek(0)
    return out


def a_file(name: str, content: bytes = b"evil") -> Entry:
    return name, tarfile.REGTYPE, "", content


def a_link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Entry:
    return name, kind, target, b""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A directory with a neighbour that nothing may touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("precious")
    inside = tmp_path / "inside"
    inside.mkdir()
    return inside


def unpacked(stream: io.BytesIO, into: Path, **more: object) -> list[str]:
    said: list[str] = []
    directory = os.open(into, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpack.unpack(stream, unpack.Into(directory, said=str(into), **more), said.append)  # type: ignore[arg-type]
    finally:
        os.close(directory)
    return said


def packed(source: Path, name: str, warn: Callable[[str], None]) -> io.BytesIO:
    out = io.BytesIO()
    fd = os.open(source, os.O_RDONLY)
    try:
        pack.pack(out, fd, name, warn)
    finally:
        os.close(fd)
    out.seek(0)
    return out


def test_a_tree_comes_out_as_it_went_in(tmp_path: Path, target: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "run.sh").write_bytes(os.urandom(300_000))
    (tree / "run.sh").chmod(0o751)
    (tree / "deep" / "er" / "empty").touch()
    (tree / "deep" / "link").symlink_to("../run.sh")
    (tree / "deep").chmod(0o555)
    os.mkfifo(tree / "pipe")
    said: list[str] = []

    unpacked(packed(tree, "tree", said.append), target)

    found = target / "tree"
    assert (found / "run.sh").read_bytes() == (tree / "run.sh").read_bytes()
    assert (found / "run.sh").stat().st_mode & 0o7777 == 0o751
    assert (found / "deep").stat().st_mode & 0o7777 == 0o555
    assert (found / "deep" / "link").readlink() == Path("../run.sh")
    assert (found / "deep" / "er" / "empty").read_bytes() == b""
    assert abs((found / "run.sh").stat().st_mtime - (tree / "run.sh").stat().st_mtime) < 0.01
    assert said == ["tree/pipe is left out: it is a device, a socket or a pipe"]


@pytest.mark.parametrize(
    "entries",
    [
        [a_file("../outside/precious")],
        [a_file("a/../../outside/precious")],
        [a_file("/outside/precious")],
        [a_link("way", "../outside"), a_file("way/precious")],
        [a_link("way", "/"), a_file("way/tmp/x")],
        [a_link("way", "."), a_link("way/up", ".."), a_file("way/up/outside/precious")],
        [a_link("hard", "../outside/precious", tarfile.LNKTYPE)],
        [a_link("way", "../outside"), a_link("hard", "way/precious", tarfile.LNKTYPE)],
        [a_link("soft", "../outside/precious"), a_link("hard", "soft", tarfile.LNKTYPE)],
    ],
)
def test_no_name_and_no_link_leads_out(entries: list[Entry], target: Path) -> None:
    with pytest.raises(CopyFailed):
        unpacked(a_tar(*entries), target)

    outside = target.parent / "outside"
    assert (outside / "precious").read_text() == "precious"
    assert (outside / "precious").stat().st_nlink == 1
    assert sorted(each.name for each in outside.iterdir()) == ["precious"]


def test_a_file_replaces_a_link_and_does_not_write_through_it(target: Path) -> None:
    (target / "name").symlink_to("../outside/precious")

    unpacked(a_tar(a_file("name", b"new")), target)

    assert (target / "name").read_text() == "new"
    assert not (target / "name").is_symlink()
    assert (target.parent / "outside" / "precious").read_text() == "precious"


def test_devices_and_privileged_bits_are_not_taken_over(target: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        device = tarfile.TarInfo("disk")
        device.type, device.devmajor, device.devminor = tarfile.BLKTYPE, 8, 0
        archive.addfile(device)
        program = tarfile.TarInfo("su")
        program.mode = 0o4755
        archive.addfile(program)
    stream.seek(0)

    assert unpacked(stream, target) == ["disk is left out: it is a device or a pipe"]
    assert (target / "su").stat().st_mode & 0o7777 == 0o755
    assert not (target / "disk").exists()


def test_a_stream_that_breaks_off_is_told(target: Path) -> None:
    whole = a_tar(a_file("a", b"x" * 100_000)).getvalue()

    with pytest.raises(CopyFailed, match="broken"):
        unpacked(io.BytesIO(whole[:50_000]), target)


def test_what_changes_while_it_is_read_breaks_nothing(tmp_path: Path, target: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 1000)
    said: list[str] = []

    class Shrinking(io.BytesIO):
        """Cuts the file as soon as its header is written."""

        def write(self, data: object, /) -> int:
            file.write_bytes(b"y")
            return super().write(data)  # type: ignore[arg-type]

    pack._CHUNK_BYTES, before = 512, pack._CHUNK_BYTES
    try:
        out = Shrinking()
        fd = os.open(file, os.O_RDONLY)
        pack.pack(out, fd, "log", said.append)
        os.close(fd)
    finally:
        pack._CHUNK_BYTES = before
    out.seek(0)
    unpacked(io.BytesIO(out.getvalue()), target)

    assert len((target / "log").read_bytes()) == 1000
    assert said == ["log became shorter while it was read"]


@pytest.mark.parametrize(
    ("path", "there", "contents", "expected"),
    [
        ("/srv", "directory", False, ("/srv", None)),
        ("/srv/", "directory", True, ("/srv", "")),
        ("/srv/new", "nothing", False, ("/srv", "new")),
        ("/srv/new", "nothing", True, ("/srv", "new")),
        ("/srv/old", "file", False, ("/srv", "old")),
        ("here", "nothing", False, (".", "here")),
        ("/", "directory", False, ("/", None)),
    ],
)
def test_a_copy_goes_where_docker_cp_puts_it(
    path: str, there: destination.There, contents: bool, expected: tuple[str, str | None]
) -> None:
    goal = destination.goal(path, there, contents=contents, as_is=False)

    assert (goal.directory, goal.rename) == expected


def test_a_directory_is_not_put_over_a_file_nor_a_file_where_a_directory_is_meant(target: Path) -> None:
    over_file = destination.goal("/x/file", "file", contents=False, as_is=False)
    new_directory = destination.goal("/x/new/", "nothing", contents=False, as_is=False)

    with pytest.raises(CopyFailed, match="cannot be copied over it"):
        unpacked(a_tar(("d", tarfile.DIRTYPE, "", b"")), target, takes_directory=over_file.takes_directory)
    with pytest.raises(CopyFailed, match="make it first"):
        unpacked(a_tar(a_file("f")), target, takes_file=new_directory.takes_file)
    with pytest.raises(CopyFailed, match="leave out the last /"):
        destination.goal("/x/file/", "file", contents=False, as_is=False)
