"""`make test-vm`: kernel tests on a machine with nothing but cgroup v2, whatever this host has.

The machine is QEMU's, emulated in software, with Debian's kernel and this host's files: `/` is mounted
read-only through 9p, with fresh file systems where programs write. Arguments go to pytest.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.vm import supplies

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = supplies.CACHE
WITHIN_SECONDS = 60 * 60
DISK_BYTES = 1 << 30
OPTIONS = ("-m", "not etcd and not registry and not cluster", "--tb=short", "--color=no", "--timeout=600")


def main(arguments: list[str]) -> int:
    """The exit code of pytest, or 1 when it never came to that."""
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is below cleans up
    supplies.have_qemu()
    supplies.have("apparmor_parser", "apparmor")  # its kernel has AppArmor, most build machines have not
    supplies.have_kernel()
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        initramfs, result, disk = (Path(scratch, name) for name in ("initramfs", "result", "disk"))
        _format(disk)
        command = [sys.executable, "-m", "pytest", *OPTIONS, *(arguments or _tests())]
        job = f"project={shlex.quote(str(ROOT))}\ncommand={shlex.quote(shlex.join(command))}\n"
        supplies.pack(initramfs, {"init": HERE / "boot.sh", "job": job})
        try:
            machine = _machine(initramfs, result, disk)
            subprocess.run(machine, stdin=subprocess.DEVNULL, timeout=WITHIN_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            supplies.say(f"the machine was not done after {WITHIN_SECONDS} s and was ended")
            return 1
        said = result.read_text().strip() if result.exists() else ""
    if not said.isdigit():
        supplies.say("the machine ended before the tests did; what it said last is above")
        return 1
    return int(said)


def _tests() -> list[str]:
    """Those of the runtime and orchrun: nothing else of orch differs with the version of cgroups."""
    kernel = Path("tests/kernel")
    others = ("user_namespaces", "mounts", "escapes")
    runtime = sorted(map(str, kernel.glob("test_runtime_*.py")))
    files = (str(kernel / f"test_{name}.py") for name in others)
    return ["tests/agent/runtime", *runtime, *files, str(kernel / "orchrun")]


def _format(disk: Path) -> None:
    """For the tests' own files: on Linux 6.1 a tmpfs cannot show them under other owners, as nodes do."""
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", str(disk)], check=True)


def _machine(initramfs: Path, result: Path, disk: Path) -> list[str]:
    """It speaks on our output, and tells the exit code on its second serial line."""
    words = "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off random.trust_cpu=on rdinit=/init"
    return [
        *("setpriv", "--pdeathsig", "KILL", supplies.PROGRAM),
        *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-serial", "stdio", "-serial", f"file:{result}"),
        *("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"),
        *("-kernel", str(CACHE / "kernel" / "vmlinuz"), "-initrd", str(initramfs), "-append", words),
        *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
