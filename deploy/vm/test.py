"""`make test-vm`: kernel tests on a machine with nothing but cgroup v2, whatever this host has.

The machine is QEMU's, emulated in software, with Debian's kernel and this host's files: `/` is mounted
read-only through 9p, with fresh file systems where programs write. Arguments go to pytest.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.vm import kernel

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = ROOT / "build" / "vm"
PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
WITHIN_SECONDS = 15 * 60
OPTIONS = ("-m", "not etcd and not registry and not cluster", "--tb=short", "--color=no")


def main(arguments: list[str]) -> int:
    """The exit code of pytest, or 1 when it never came to that."""
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is below cleans up
    _prepare()
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        initramfs, result = Path(scratch, "initramfs"), Path(scratch, "result")
        command = [sys.executable, "-m", "pytest", *OPTIONS, *(arguments or _tests())]
        _pack(initramfs, command)
        try:
            machine = _machine(initramfs, result)
            subprocess.run(machine, stdin=subprocess.DEVNULL, timeout=WITHIN_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            _say(f"the machine was not done after {WITHIN_SECONDS} s and was ended")
            return 1
        said = result.read_text().strip() if result.exists() else ""
    if not said.isdigit():
        _say("the machine ended before the tests did; what it said last is above")
        return 1
    return int(said)


def _tests() -> list[str]:
    """Those of the runtime: nothing else of orch differs with the version of cgroups."""
    return ["tests/agent/runtime", *sorted(map(str, Path("tests/kernel").glob("test_runtime_*.py")))]


def _prepare() -> None:
    """QEMU from Debian, and a kernel in build/vm; nothing when they are there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not shutil.which(PROGRAM):
        _say(f"installing from Debian: {PACKAGE}")
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGE]
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL, env=quiet)
    if not (CACHE / "kernel").exists():
        _say("fetching Debian's kernel into build/vm")
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            made = Path(scratch, "kernel")
            kernel.fetch(made)
            made.rename(CACHE / "kernel")


def _pack(initramfs: Path, command: list[str]) -> None:
    """The first file system of the machine: busybox, modules, and the scripts that it runs."""
    with tempfile.TemporaryDirectory(dir=initramfs.parent) as scratch:
        top = Path(scratch)
        shutil.copytree(CACHE / "kernel" / "modules", top / "modules")
        shutil.copy("/bin/busybox", top / "busybox")
        shutil.copy(HERE / "boot.sh", top / "init")
        (top / "init").chmod(0o755)
        (top / "job").write_text(
            f"project={shlex.quote(str(ROOT))}\ncommand={shlex.quote(shlex.join(command))}\n"
        )
        names = "\n".join(str(file.relative_to(top)) for file in sorted(top.rglob("*")))
        with initramfs.open("wb") as packed:
            packer = ["busybox", "cpio", "-o", "-H", "newc"]
            subprocess.run(
                packer, cwd=top, input=names.encode(), stdout=packed, stderr=subprocess.PIPE, check=True
            )


def _machine(initramfs: Path, result: Path) -> list[str]:
    """It speaks on our output, and tells the exit code on its second serial line."""
    words = "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off random.trust_cpu=on rdinit=/init"
    return [
        *("setpriv", "--pdeathsig", "KILL", PROGRAM),
        *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-serial", "stdio", "-serial", f"file:{result}"),
        *("-kernel", str(CACHE / "kernel" / "vmlinuz"), "-initrd", str(initramfs), "-append", words),
        *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"),
    ]


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
