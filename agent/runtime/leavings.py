"""What of a runtime lies on disk and in cgroups when no container owns it any more."""

import contextlib
import time
from pathlib import Path

from agent.linux import removal
from agent.runtime import cgroup

_WITHIN_SECONDS = 10.0
_RETRY_SECONDS = 0.005
_FILES = ("shim.sock", "log.sock", "shim.lock", "log.lock", "log.scratch", "code")
_DIRECTORIES = ("containers", "root")


def sweep(roots: Path, known: set[str]) -> None:
    """Roots that no container owns: of removals cut short, and of before a reboot."""
    for root in roots.iterdir():
        if root.name not in known:
            removal.tree(root, ignore_errors=True)


def take_down(run_dir: Path, cgroups: "cgroup.Cgroups", cgroup_root: str) -> None:
    """Once nothing runs: the cgroups, also those above ours that are empty, and the files of the helpers."""
    deadline = time.monotonic() + _WITHIN_SECONDS
    children = [f"{cgroup_root}/{child}" for child in cgroups.children(cgroup_root)]
    for group in (*children, cgroup_root):
        while not cgroups.remove(group) and time.monotonic() < deadline:
            time.sleep(_RETRY_SECONDS)
    parent = cgroup_root
    while parent := parent.rpartition("/")[0]:
        if not cgroups.remove(parent):
            break  # another node of this machine lives there
    for name in _FILES:
        (run_dir / name).unlink(missing_ok=True)
    for name in _DIRECTORIES:
        with contextlib.suppress(OSError):
            (run_dir / name).rmdir()
