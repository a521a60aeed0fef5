"""Stops and continues all processes of a group. Imported by the shim: no heavy imports."""

import errno
import os
import select
import time

from agent.runtime import cgroup_files

_WITHIN_SECONDS = 10.0
_RETRY_SECONDS = 0.005


def freeze(path: str) -> None:
    """Returns when the last of them stands still; a group that cannot is left running, with an error."""
    is_v2 = os.path.exists(f"{path}/cgroup.freeze")
    deadline = time.monotonic() + _WITHIN_SECONDS
    try:
        if is_v2:
            cgroup_files.write(f"{path}/cgroup.freeze", "1")
            _wait_frozen(path, deadline)
        else:
            _freeze_v1(path, deadline)
    except OSError:
        thaw(path)
        raise


def thaw(path: str) -> None:
    if os.path.exists(f"{path}/cgroup.freeze"):
        cgroup_files.write(f"{path}/cgroup.freeze", "0")
    else:
        cgroup_files.write(f"{path}/freezer.state", "THAWED")


def is_frozen(path: str) -> bool:
    """Or on its way to be."""
    asked = cgroup_files.read(f"{path}/cgroup.freeze") or cgroup_files.read(f"{path}/freezer.state")
    return asked.strip() in {"1", "FROZEN", "FREEZING"}


def _wait_frozen(path: str, deadline: float) -> None:
    events = os.open(f"{path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    poll = select.poll()
    poll.register(events, select.POLLPRI)
    try:
        while b"frozen 1" not in os.pread(events, 4096, 0):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise _too_late(path)
    finally:
        os.close(events)


def _freeze_v1(path: str, deadline: float) -> None:
    """v1 tells nobody when it is done, and a process born meanwhile keeps it from being done: ask again."""
    while True:
        cgroup_files.write(f"{path}/freezer.state", "FROZEN")
        if cgroup_files.read(f"{path}/freezer.state").strip() == "FROZEN":
            return
        if time.monotonic() > deadline:
            raise _too_late(path)
        time.sleep(_RETRY_SECONDS)


def _too_late(path: str) -> OSError:
    why = f"not all of its processes stood still within {_WITHIN_SECONDS:.0f} s"
    return OSError(errno.ETIMEDOUT, why, path)
