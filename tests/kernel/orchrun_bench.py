"""Bundles of busybox, and one way to call orchrun, runc and crun on them."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli.dev import sweep

PATIENCE = float(os.environ.get("ORCH_TEST_PATIENCE", "1"))
ORCHRUN = str(Path(sys.executable).with_name("orchrun"))
_CRUN = """
for mount in /sys/fs/cgroup/unified; do umount "$mount" 2>/dev/null; done
exec crun "$@"
"""
"""crun refuses a hybrid host; without the v2 mount beside them, it takes the v1 hierarchies."""


@dataclass
class Done:
    """What a call of a runtime said, and how it ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(eq=False)
class Runtime:
    """One of the runtimes, with a state directory of its own."""

    name: str
    directory: Path
    made: list[str] = field(default_factory=list)

    @property
    def command(self) -> list[str]:
        root = ["--root", str(self.directory / self.name)]
        match self.name:
            case "crun":
                return ["unshare", "-m", "sh", "-c", _CRUN, "crun", *root]
            case "runc":
                return ["runc", *root]
            case _:
                return [ORCHRUN, *root]

    def __call__(self, *words: str, stdin: str = "", **options: Any) -> Done:
        """Never with the node's /dev/null as its input: crun gives that to the users of the container."""
        done = subprocess.run(
            [*self.command, *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60 * PATIENCE,
            check=False,
            input=stdin,
            **options,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def open(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """A call that goes on beside the test."""
        return subprocess.Popen([*self.command, *words], **options)

    def new(self) -> str:
        """A name for a container, which is gone after the test."""
        name = f"o{uuid.uuid4().hex[:12]}"
        self.made.append(name)
        return name

    def create(self, bundle: Path, *words: str) -> tuple[str, Done]:
        """Without our pipes: the container would hold them open."""
        name = self.new()
        with (bundle / "said").open("ab") as said, (bundle / "failed").open("w+") as failed:
            done = subprocess.run(
                [*self.command, "create", "--bundle", str(bundle), *words, name],
                input=b"",
                stdout=said,
                stderr=failed,
                timeout=60 * PATIENCE,
                check=False,
            )
            failed.seek(0)
            return name, Done(done.returncode, "", failed.read())

    def state(self, name: str) -> str:
        return str(self("state", name).json()["status"])

    def clean(self) -> None:
        for name in self.made:
            self("delete", "--force", name)


@dataclass
class Bundles:
    """Bundles over one root file system."""

    directory: Path
    rootfs: Path
    parent: str

    def new(self, *args: str, **changes: Any) -> Path:
        """`changes` go into config.json, a double underscore a level down."""
        number = uuid.uuid4().hex[:8]
        bundle = self.directory / f"bundle-{number}"
        bundle.mkdir()
        config = config_of(list(args), str(self.rootfs), f"/{self.parent}/{number}")
        for key, value in changes.items():
            place = config
            *path, last = key.split("__")
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
        (bundle / "config.json").write_text(json.dumps(config))
        return bundle


def config_of(args: list[str], rootfs: str, group: str) -> dict[str, Any]:
    quiet = ["nosuid", "noexec", "nodev"]
    capabilities = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin:/usr/bin", "COLOUR=green"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "noNewPrivileges": True,
        },
        "root": {"path": rootfs, "readonly": False},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
            {
                "destination": "/dev/shm",
                "type": "tmpfs",
                "source": "shm",
                "options": [*quiet, "mode=1777", "size=65536k"],
            },
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
        ],
        "linux": {
            "cgroupsPath": group,
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def unpack_busybox(root: Path) -> Path:
    """A root file system with every command of busybox."""
    for directory in ("bin", "etc", "tmp", "proc", "sys", "dev", "root", "srv"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    listed = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True)
    for command in listed.stdout.split():
        if command != "busybox":
            (root / "bin" / command).symlink_to("busybox")
    (root / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nann:x:1000:\n")
    return root


def wait_until(what: Any) -> None:
    deadline = time.monotonic() + 20 * PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.01)


def started(runtime: Runtime, bundle: Path) -> str:
    name, done = runtime.create(bundle)
    assert done.code == 0, done.err
    assert runtime("start", name).code == 0
    return name


def sleeping(runtime: Runtime, bundles: Bundles, **changes: Any) -> str:
    """A container that runs, to do something to."""
    return started(runtime, bundles.new("sleep", "1000", **changes))


def groups_below(parent: str) -> list[Path]:
    """The cgroups that are left of a test, deepest first."""
    return list(sweep.directories(parent))


def remove_groups(parent: str) -> list[str]:
    """Take away what is left below a parent of ours; what held processes is a leftover, and named."""
    left = [f"process {pid} below {parent}" for pid in sweep.payloads(parent)]
    sweep.kill_payloads(parent)
    sweep.remove_cgroups(parent)
    return left


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}; make test installs it")


@contextlib.contextmanager
def bundles_in(directory: Path, rootfs: Path) -> Iterator[Bundles]:
    """Bundles whose containers all live below one cgroup, which is gone afterwards."""
    parent = f"orchrun-test-{uuid.uuid4().hex[:8]}"
    directory.mkdir(exist_ok=True)
    try:
        yield Bundles(directory, rootfs, parent)
    finally:
        left = remove_groups(parent)
    assert left == [], "processes are left behind"
