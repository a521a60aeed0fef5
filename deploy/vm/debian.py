"""A disk with Debian 12, systemd and what orch is installed into: as step 1 of deploy/three-vms.md has it.

Made once, in build/vm; orch itself comes with each start of a machine, so that it is always today's.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.vm import supplies

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
MACHINERY = ("systemd-sysv", "udev", "dbus", "kmod", "procps")
DOCUMENTED = ("git", "python3-venv", "etcd-server", "etcd-client", "nftables", "iproute2")
FOR_TESTS = ("busybox-static", "docker-registry")
SIZE = "4G"
_CERTIFICATES = Path("usr/local/share/ca-certificates")
_HERE = Path(__file__).resolve().parent

_SHELL_UNIT = """\
[Unit]
Description=a root shell on the second serial line
DefaultDependencies=no
After=local-fs.target
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ExecStart=/usr/local/sbin/serial-shell
StandardInput=tty-force
StandardOutput=tty
StandardError=journal
TTYPath=/dev/ttyS1
Restart=always
KillMode=process
[Install]
WantedBy=sysinit.target
"""


def disk() -> Path:
    """The image, made when it is missing or made of other things."""
    supplies.have("debootstrap", "debootstrap")
    supplies.have("mke2fs", "e2fsprogs")
    kernel = supplies.have_kernel()
    image, stamp = supplies.CACHE / "debian.img", supplies.CACHE / "debian.stamp"
    wanted = _stamp()
    if image.exists() and stamp.exists() and stamp.read_text() == wanted:
        return image
    supplies.say("making a disk with Debian and systemd in build/vm; this takes some minutes")
    with tempfile.TemporaryDirectory(dir=supplies.CACHE) as scratch:
        root = Path(scratch, "root")
        _install(root)
        _furnish(root, kernel)
        made = Path(scratch, "debian.img")
        make = ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(made), SIZE]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        made.rename(image)
    stamp.write_text(wanted)
    return image


def wheel(to: Path) -> Path:
    """Today's orch."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(to)]
    subprocess.run(build, cwd=supplies.ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    [made] = to.glob("*.whl")
    return made


def _stamp() -> str:
    sources = [Path(__file__), _HERE / "serial-shell.sh", supplies.ROOT / "uv.lock"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _install(root: Path) -> None:
    packages = ",".join((*MACHINERY, *DOCUMENTED, *FOR_TESTS, "ca-certificates"))
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(root), MIRROR]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(f"debootstrap could not make a root: {said.stdout[-2000:]}{said.stderr[-2000:]}")
    # What this host trusts beyond Debian's own list, for as long as pip works.
    extra = Path("/") / _CERTIFICATES
    if extra.is_dir():
        shutil.copytree(extra, root / _CERTIFICATES, dirs_exist_ok=True)
        _inside(root, "update-ca-certificates")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    with tempfile.TemporaryDirectory(dir=root / "var/tmp") as scratch:
        made = wheel(Path(scratch))
        _inside(root, "python3 -m venv /opt/orch")
        _inside(root, f"/opt/orch/bin/pip install --quiet --no-cache-dir /{made.relative_to(root)}")


def _inside(root: Path, command: str) -> None:
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    environment = {"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "PIP_CERT": bundle}
    inside = ["chroot", str(root), "sh", "-c", command]
    done = subprocess.run(inside, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"in the root that is being made, this failed: {command}\n{done.stdout}{done.stderr}"
        )


def _furnish(root: Path, kernel: Path) -> None:
    """What makes it a machine that we can talk to."""
    shutil.copytree(kernel / "tree", root / "lib/modules", dirs_exist_ok=True)
    [version] = (kernel / "tree").iterdir()
    _inside(root, f"depmod {version.name}")
    shell = root / "usr/local/sbin/serial-shell"
    shutil.copy(_HERE / "serial-shell.sh", shell)
    shell.chmod(0o755)
    (root / "etc/systemd/system/serial-shell.service").write_text(_SHELL_UNIT)
    _inside(root, "systemctl enable -q serial-shell; systemctl disable -q etcd docker-registry")
    _inside(root, "systemctl mask -q serial-getty@ttyS0 getty@tty1 fstrim.timer e2scrub_all.timer")
    _inside(root, "systemctl mask -q apt-daily.timer apt-daily-upgrade.timer man-db.timer; passwd -d root")
    (root / "etc/fstab").write_text("/dev/vda / ext4 rw 0 0\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/systemd/journald.conf.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/systemd/journald.conf.d/disk.conf").write_text("[Journal]\nStorage=persistent\n")
