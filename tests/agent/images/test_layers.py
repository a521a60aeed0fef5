"""Unpacking: honest layers come out exact, hostile ones touch nothing outside."""

import gzip
import hashlib
import io
import os
import stat
import struct
import tarfile
from pathlib import Path

import pytest
import zstandard

from agent.images import layers
from agent.images.layers import Expected
from agent.images.limits import Limits
from orch.oci.failure import ImageFailure, Reason
from tests.support.archives import archive, directory, hard_link, member, symlink

pytestmark = pytest.mark.root

# cap_net_bind_service=ep, as setcap writes it
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The layer's directory; beside it lies what a hostile layer would like to reach."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/precious").write_text("precious")
    (tmp_path / "layer").mkdir()
    return tmp_path / "layer"


def unpack(blob: bytes, root: Path, limits: Limits | None = None, **promised: str) -> layers.Unpacked:
    return layers.unpack(
        io.BytesIO(blob).read, str(root), Expected(len(blob), **promised), limits or Limits()
    )


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "compress",
    [
        lambda plain: plain,
        gzip.compress,
        lambda plain: gzip.compress(plain[:700]) + gzip.compress(plain[700:]),
        zstandard.compress,
        lambda plain: zstandard.compress(plain[:700]) + zstandard.compress(plain[700:]),
    ],
    ids=["plain", "gzip", "two gzip members", "zstd", "two zstd frames"],
)
def test_every_compression_gives_the_same_tree_and_digests(compress, root: Path) -> None:
    plain = archive([directory("a"), member("a/f", b"x" * 5000)])
    blob = compress(plain)

    found = unpack(blob, root, digest=sha256(blob), diff_id=sha256(plain))

    assert (root / "a/f").read_bytes() == b"x" * 5000
    assert (found.digest, found.diff_id, found.size) == (sha256(blob), sha256(plain), len(plain))


def test_modes_owners_times_and_attributes_are_exact(root: Path) -> None:
    attributes = {
        "SCHILY.xattr.user.note": "hello",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "mtime": "1000000000.25",
    }
    unpack(
        archive(
            [
                directory("d", mode=0o1777, uid=5, gid=6, mtime=1234567890),
                member("d/su", b"#!", mode=0o4755, uid=1000, gid=1001, pax=attributes),
                member("d/fifo", type=tarfile.FIFOTYPE, mode=0o600),
                member("d/null", type=tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3),
            ]
        ),
        root,
    )

    su, d, null = (root / "d/su").lstat(), (root / "d").lstat(), (root / "d/null").lstat()
    assert (stat.S_IMODE(su.st_mode), su.st_uid, su.st_gid) == (0o4755, 1000, 1001)
    assert su.st_mtime_ns == 1_000_000_000_250_000_000
    assert (stat.S_IMODE(d.st_mode), d.st_uid, d.st_gid, d.st_mtime) == (0o1777, 5, 6, 1234567890)
    assert (null.st_rdev, stat.S_IMODE(null.st_mode)) == (os.makedev(1, 3), 0o666)
    assert stat.S_ISFIFO((root / "d/fifo").lstat().st_mode)
    assert os.getxattr(root / "d/su", "user.note") == b"hello"
    assert "trusted.overlay.redirect" not in os.listxattr(root / "d/su")


def test_file_capabilities_survive(root: Path) -> None:
    record = b"SCHILY.xattr.security.capability=" + CAPABILITY + b"\n"
    record = str(len(record) + 3).encode() + b" " + record
    blob = archive([member("x", record, type=b"x"), member("ping", b"#!")])

    unpack(blob, root)

    assert os.getxattr(root / "ping", "security.capability") == CAPABILITY


def test_whiteouts_become_what_overlayfs_reads(root: Path) -> None:
    unpack(
        archive(
            [
                member("etc/.wh.gone"),
                member("var/.wh..wh..opq"),
                member("again/.wh.back"),
                member("again/back", b"new"),
                directory("kept"),
                member(".wh.kept"),
                member(".wh.dir"),
                directory("dir"),
                member(".wh..wh.plnk"),
            ]
        ),
        root,
    )

    gone = (root / "etc/gone").lstat()
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert os.getxattr(root / "var", "trusted.overlay.opaque") == b"y"
    assert (root / "again/back").read_bytes() == b"new"
    assert os.getxattr(root / "kept", "trusted.overlay.opaque") == b"y"
    assert os.getxattr(root / "dir", "trusted.overlay.opaque") == b"y"
    assert not list(root.rglob(".wh.*"))


def test_links_keep_what_they_say(root: Path) -> None:
    unpack(
        archive(
            [
                directory("usr/lib"),
                symlink("lib", "/usr/lib"),
                symlink("dangling", "../../../nowhere"),
                member("lib/a", b"A"),
                hard_link("b", "lib/a"),
                hard_link("lib/a", "b"),
                hard_link("to-link", "dangling"),
            ]
        ),
        root,
    )

    assert (root / "lib").readlink() == Path("/usr/lib")
    assert (root / "usr/lib/a").read_bytes() == b"A"
    assert (root / "b").samefile(root / "usr/lib/a")
    assert (root / "to-link").is_symlink()


def test_a_later_entry_takes_the_place_of_an_earlier_one(root: Path) -> None:
    unpack(
        archive(
            [
                member("a", b"1"),
                member("a", b"2"),
                directory("d/e"),
                member("d/e/f", b"f"),
                symlink("d", "/elsewhere"),
                member("s", b"file"),
                directory("s"),
                member("s/in", b"in"),
            ]
        ),
        root,
    )

    assert (root / "a").read_bytes() == b"2"
    assert (root / "d").is_symlink()
    assert (root / "s/in").read_bytes() == b"in"


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_odd_names_survive(kind: int, root: Path) -> None:
    long = "/".join(["d" * 90] * 6)
    odd = os.fsdecode(b"caf\xe9 \n\x01")

    unpack(archive([member(f"{long}/f", b"x"), symlink("l", long), member(odd, b"y")], kind), root)

    assert (root / long / "f").read_bytes() == b"x"
    assert (root / "l").readlink() == Path(long)
    assert (root / odd).read_bytes() == b"y"


HOSTILE = {
    "dots": [member("../outside/new", b"!")],
    "dots within": [member("a/../../outside/new", b"!")],
    "dots last": [directory("a/..")],
    "symlink then through it": [symlink("s", "../outside"), member("s/new", b"!")],
    "absolute symlink then through it": [symlink("s", "OUTSIDE"), member("s/new", b"!")],
    "chain of symlinks": [
        symlink("a", "b"),
        symlink("b", "c/.."),
        symlink("c", "../../outside"),
        member("a/new", b"!"),
    ],
    "write over a symlink": [symlink("f", "OUTSIDE/precious"), member("f", b"!")],
    "hard link to outside": [hard_link("f", "../outside/precious"), member("f", b"!")],
    "hard link through a symlink": [symlink("s", "OUTSIDE"), hard_link("f", "s/precious")],
    "hard link to a symlink, then written": [
        symlink("s", "OUTSIDE/precious"),
        hard_link("f", "s"),
        member("f", b"!"),
    ],
    "directory swapped for a symlink": [
        directory("d"),
        member("d/a", b"a"),
        symlink("d", "OUTSIDE"),
        member("d/new", b"!"),
    ],
    "directory entry over a symlink": [
        symlink("d", "OUTSIDE"),
        directory("d", mode=0o777),
        member("d/new", b"!"),
    ],
    "whiteout through a symlink": [symlink("s", "OUTSIDE"), member("s/.wh.precious")],
    "whiteout of the parent": [member("a/.wh...")],
    "whiteout of dots": [member(".wh...")],
    "opaque through a symlink": [symlink("s", "OUTSIDE"), member("s/.wh..wh..opq")],
    "symlink loop": [symlink("a", "b"), symlink("b", "a"), member("a/f", b"!")],
    "the root as a symlink": [symlink(".", "OUTSIDE"), member("new", b"!")],
    "the root as a file": [member("./", b"")],
    "device through a symlink": [symlink("s", "OUTSIDE"), member("s/new", type=tarfile.FIFOTYPE)],
    "times through a symlink": [directory("d", mtime=1), symlink("d", "OUTSIDE")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_written_outside(name: str, root: Path) -> None:
    outside = root.parent / "outside"
    before = [
        (path, path.lstat().st_mtime_ns, path.lstat().st_nlink) for path in (outside, outside / "precious")
    ]
    for info, _ in HOSTILE[name]:
        info.linkname = info.linkname.replace("OUTSIDE", str(outside))

    try:
        unpack(archive(HOSTILE[name]), root)
    except ImageFailure as refused:
        assert refused.reason is Reason.BAD_IMAGE

    assert [(path, path.lstat().st_mtime_ns, path.lstat().st_nlink) for path, *_ in before] == before
    assert names_in(outside) == {"precious"}
    assert (outside / "precious").read_text() == "precious"
    assert names_in(root.parent) == {"outside", "layer"}
    assert "trusted.overlay.opaque" not in os.listxattr(outside)


def pax_bomb() -> bytes:
    return archive([member("x", b"1" * (2 << 20), type=b"x"), member("f")])


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (archive(member(f"f{i}") for i in range(101)), "more than 100 entries"),
        (gzip.compress(bytes(6 << 20), mtime=0), "decompression bomb"),
        (zstandard.compress(archive([member("z", bytes(6 << 20))])), "decompression bomb"),
        (archive([member("z", os.urandom(9 << 20))]), "more than 8388608 bytes"),
        (archive([directory("d/" * 60)]), "more than 50 deep"),
        (pax_bomb(), "extended header"),
        (archive([member("x", b"9 a=b\n", type=b"x"), member("f")]), "malformed"),
        (archive([member("x", b"6 a=b\n", type=b"x")] * 9), "belong to no entry"),
        (archive([member("x", b"6 a=b\n", type=b"x")]), "ends after an extended header"),
        (archive([member("f", type=b"Z")]), "unknown kind"),
        (archive([member("f", b"x" * 1000)])[:1024], "middle of"),
        (archive([member("f")])[:300], "middle of a header"),
        (archive([member("f/" + "n" * 5000)]), "not a name"),
        (b"x" * 1024, "not a tar archive"),
        (b"\x1f\x8b" + b"x" * 100, "not sound gzip"),
        (gzip.compress(archive([member("f")]), mtime=0)[:-9], "ends too early"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "not sound zstd"),
        (archive([member("f", b"x"), member("f/g", b"x")]), "something lies beneath it"),
        (archive([hard_link("a", "missing/b")]), "not in its layer"),
        (archive([directory("d"), hard_link("a", "d")]), "hard link to a directory"),
        (archive([symlink("a", "")]), "points to nothing"),
    ],
)
def test_bombs_and_rubbish_are_refused_with_a_reason(blob: bytes, why: str, root: Path) -> None:
    small = Limits(entries=100, bytes=8 << 20, ratio=50, ratio_from=4 << 20, depth=50)

    with pytest.raises(ImageFailure, match=why) as caught:
        unpack(blob, root, small)

    assert caught.value.reason is Reason.BAD_IMAGE


def test_a_wrong_digest_is_noticed(root: Path) -> None:
    blob = gzip.compress(archive([member("f", b"x")]))

    for promised in ({"digest": sha256(b"other")}, {"diff_id": sha256(b"other")}):
        with pytest.raises(ImageFailure) as caught:
            unpack(blob, root, **promised)
        assert caught.value.reason is Reason.DIGEST_MISMATCH


def test_a_blob_that_ends_early_is_noticed(root: Path) -> None:
    blob = archive([member("f", b"x")])

    with pytest.raises(ImageFailure) as caught:
        layers.unpack(io.BytesIO(blob).read, str(root), Expected(len(blob) + 1), Limits())

    assert caught.value.reason is Reason.DIGEST_MISMATCH


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = len(names_in(Path("/proc/self/fd")))

    for members in HOSTILE.values():
        try:
            unpack(archive(members), root)
        except ImageFailure:
            continue

    assert len(names_in(Path("/proc/self/fd"))) == before
