"""What the emulated machines need, fetched once: QEMU from Debian, and a kernel in build/vm."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.vm import kernel

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "vm"
PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"


def have_qemu() -> None:
    """Install it where it is missing."""
    CACHE.mkdir(parents=True, exist_ok=True)
    have(PROGRAM, PACKAGE)


def have(program: str, package: str) -> None:
    """Install the package where the program is missing."""
    if shutil.which(program):
        return
    say(f"installing from Debian: {package}")
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL, env=quiet)


def have_kernel() -> Path:
    """The directory with `vmlinuz`, `modules/` in loading order, and `tree/`, as it lies below /lib/modules."""
    found = CACHE / "kernel"
    if not (found / "tree").exists():
        say("fetching Debian's kernel into build/vm")
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            made = Path(scratch, "kernel")
            kernel.fetch(made)
            shutil.rmtree(found, ignore_errors=True)
            made.rename(found)
    return found


def pack(initramfs: Path, files: dict[str, Path | str]) -> None:
    """A first file system with busybox, the kernel's modules, and these: by name, a file to copy or its content."""
    with tempfile.TemporaryDirectory(dir=initramfs.parent) as scratch:
        top = Path(scratch)
        shutil.copytree(CACHE / "kernel" / "modules", top / "modules")
        shutil.copy("/bin/busybox", top / "busybox")
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.copy(content, top / name)
            else:
                (top / name).write_text(content)
        (top / "init").chmod(0o755)
        names = "\n".join(str(file.relative_to(top)) for file in sorted(top.rglob("*")))
        with initramfs.open("wb") as packed:
            packer = ["busybox", "cpio", "-o", "-H", "newc"]
            subprocess.run(
                packer, cwd=top, input=names.encode(), stdout=packed, stderr=subprocess.PIPE, check=True
            )


def say(sentence: str) -> None:
    """To whoever started us."""
    sys.stderr.write(f"{sentence}\n")
