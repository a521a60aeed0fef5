"""Takes away what a node leaves when its processes are killed: payloads, cgroups, mounts, run directories.

Knows nothing of how the node made them: everything of a dev cluster lies under one cgroup and one run directory, so
that it can be removed by the kernel's own lists, also after a crash.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from cli.dev import processes

_CGROUPS = Path("/sys/fs/cgroup")


def payloads(cgroup: str) -> set[int]:
    """Pids of everything below a cgroup, in every hierarchy."""
    found: set[int] = set()
    for directory in directories(cgroup):
        with contextlib.suppress(OSError):
            found.update(int(pid) for pid in (directory / "cgroup.procs").read_text().split())
    return found - {0}


def kill_payloads(cgroup: str) -> None:
    """Kill all that runs below a cgroup, until nothing does: a payload may fork while it is being killed."""
    for _ in range(50):
        pids = payloads(cgroup)
        if not pids:
            return
        processes.kill(sorted(pids))
    raise RuntimeError(f"processes under cgroup {cgroup} do not end: {sorted(payloads(cgroup))}")


def remove_cgroups(cgroup: str) -> None:
    """Remove the cgroup and all below it, in every hierarchy."""
    deadline = time.monotonic() + 5.0
    for directory in directories(cgroup):
        while directory.exists():
            try:
                directory.rmdir()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"cannot remove {directory}: {error.strerror}") from error
                time.sleep(0.01)  # a killed process leaves its cgroup a moment after it is gone


def remove_empty_cgroup(cgroup: str) -> None:
    """Remove it in every hierarchy where nothing is below it."""
    for directory in directories(cgroup):
        if directory.name == Path(cgroup).name:
            with contextlib.suppress(OSError):
                directory.rmdir()


def is_mounted(directory: Path) -> bool:
    """By the kernel's list: a directory that is bound onto itself looks like any other."""
    return str(directory) in _mount_points()


def unmount_below(directory: Path) -> None:
    """Unmount everything at or below a directory, the deepest first."""
    points = [
        point for point in _mount_points() if point == str(directory) or point.startswith(f"{directory}/")
    ]
    for point in sorted(points, key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def remove_directory(directory: Path) -> None:
    """Remove a directory with all mounts in it."""
    unmount_below(directory)
    shutil.rmtree(directory, ignore_errors=True)


def directories(cgroup: str) -> Iterator[Path]:
    """The cgroup's directories in every hierarchy, the deepest first; one that goes meanwhile is passed over."""
    hierarchies = [_CGROUPS] if (_CGROUPS / "cgroup.controllers").exists() else sorted(_CGROUPS.iterdir())
    seen = set()
    for hierarchy in hierarchies:
        top = hierarchy / cgroup
        if not top.is_dir() or top.resolve() in seen:
            continue
        seen.add(top.resolve())
        for path, _, _ in os.walk(top, topdown=False):
            yield Path(path)


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4].encode().decode("unicode_escape") for line in lines]
