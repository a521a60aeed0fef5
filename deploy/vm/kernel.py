"""Debian's kernel, unpacked from its package and never installed: its image, and modules in loading order.

It is the ordinary kernel, not the cloud one, for that has no 9p.
"""

import lzma
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

_META_PACKAGE = "linux-image-amd64"
_WANTED = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_blk", "crc32c_generic", "ext4")
"""What the first file system of a machine loads."""
_TREE = (
    *("crypto", "fs/ext4", "fs/overlayfs", "lib", "net", "drivers/virtio"),
    *(f"drivers/net/{name}.ko*" for name in ("veth", "dummy", "virtio_net", "net_failover")),
    "drivers/char/hw_random/virtio-rng.ko*",
)
"""What a machine with a root of its own finds below /lib/modules."""
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def fetch(to: Path) -> None:
    """Leave `vmlinuz`, `modules/` and `tree/` in the directory."""
    package = _package()
    with tempfile.TemporaryDirectory(dir=to.parent) as scratch:
        # apt's own user may not write here; its warning about that would be all it says.
        subprocess.run(
            ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package],
            cwd=scratch,
            check=True,
        )
        [archive] = Path(scratch).glob("*.deb")
        unpacked = Path(scratch, "unpacked")
        subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)
        (to / "modules").mkdir(parents=True)
        for number, module in enumerate(_in_order(_modules(unpacked), _WANTED)):
            name, content = module
            (to / "modules" / f"{number:02}-{name}.ko").write_bytes(content)
        _plant(unpacked, to / "tree")
        [image] = unpacked.glob("boot/vmlinuz-*")
        image.rename(to / "vmlinuz")


def _package() -> str:
    """The package of today's version, on which the one without a version depends."""
    asked = ["apt-cache", "depends", "--important", _META_PACKAGE]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    found = re.search(r"Depends: (linux-image-\S+)", said)
    if not found:
        raise SystemExit(f"apt knows no {_META_PACKAGE}; is this Debian on x86-64? Try: apt-get update")
    return found[1]


def _modules(unpacked: Path) -> dict[str, Path]:
    files = [file for file in unpacked.glob("**/lib/modules/*/kernel/**/*.ko*") if file.is_file()]
    return {file.name.partition(".")[0].replace("-", "_"): file for file in files}


def _plant(unpacked: Path, to: Path) -> None:
    """As much of /lib/modules as containers and their network need."""
    [source] = unpacked.glob("**/lib/modules/*")
    target = to / source.name
    for pattern in _TREE:
        for found in source.glob(f"kernel/{pattern}"):
            put = target / found.relative_to(source)
            put.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if found.is_dir() else shutil.copy)(found, put)
    for listed in source.glob("modules.*"):
        shutil.copy(listed, target)


def _in_order(modules: dict[str, Path], wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Each with what it needs before it; what is no module is built in."""
    seen: set[str] = set()

    def visit(name: str) -> Iterator[tuple[str, bytes]]:
        if name in seen or name not in modules:
            return
        seen.add(name)
        content = _content(modules[name])
        needs = _DEPENDS.search(content)
        for need in needs[1].decode().split(",") if needs else ():
            yield from visit(need.replace("-", "_"))
        yield name, content

    for name in wanted:
        yield from visit(name)


def _content(file: Path) -> bytes:
    """Newer Debians compress their modules, and not every loader reads that."""
    content = file.read_bytes()
    return lzma.decompress(content) if file.suffix == ".xz" else content
