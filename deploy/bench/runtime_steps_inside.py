"""Runs a shim that notes when each step of a start began and ended, in memory that its children share.

Started by runtime_steps.py instead of agent.runtime.shim. A clock around a function costs under a microsecond;
a tracer would stop the process at each of its three hundred system calls.
"""

import functools
import importlib
import mmap
import os
import struct
import time
from typing import Any

_NOTE = struct.Struct("dd")

STEPS = (
    ("shim", "agent.runtime.starts", "Starts._prepare", "directories, FIFOs, the group that it is born into"),
    ("shim", "agent.runtime", "cgroup_v1.V1.begin|cgroup_v2.V2.begin", "  of which the group"),
    ("shim", "agent.linux.syscalls", "clone", "clone: a child in new mount and pid namespaces"),
    (
        "shim",
        "agent.runtime.starts",
        "Starts._complete",
        "beside the child: its pid in the journal, limits, groups of v1",
    ),
    ("child", "agent.runtime.init", "keep_only", "closes what is not its own"),
    ("child", "agent.runtime.namespaces", "join", "enters its network namespace"),
    ("child", "agent.runtime.init", "_redirect", "output into the FIFOs"),
    ("child", "agent.runtime.privileges", "limit", "resource limits"),
    ("child", "agent.runtime.rootfs", "enter", "the root, in all"),
    ("child", "agent.runtime.devices", "collect", "  takes the host's harmless devices"),
    ("child", "agent.runtime.overlay", "mount", "  overlay of the layers with mapped owners"),
    ("child", "agent.runtime.rootfs", "_pivot", "  pivot_root"),
    ("child", "agent.runtime.userns", "enter", "  enters its user namespace"),
    ("child", "agent.runtime.rootfs", "_mount_all", "  /proc, /dev, /dev/pts, /dev/shm, /dev/mqueue, /sys"),
    ("child", "agent.runtime.devices", "attach", "  devices and links in /dev"),
    ("child", "agent.runtime.masks", "make_readonly", "  read-only paths"),
    ("child", "agent.runtime.masks", "mask", "  masked paths"),
    (
        "child",
        "agent.runtime.init",
        "join_groups",
        "moves into its cgroups of v1; into that of v2 it was born",
    ),
    ("child", "agent.runtime.rootfs", "mount_cgroups", "/sys/fs/cgroup"),
    ("child", "agent.runtime.init", "find_home", "HOME from /etc/passwd"),
    ("child", "agent.runtime.init", "_Hooked.wait_for_go", "waits for the go"),
    ("child", "agent.runtime.privileges", "drop", "capabilities, user, no_new_privs"),
    ("child", "agent.runtime.seccomp_load", "load", "the seccomp filter"),
    ("child", "agent.runtime.packets", "send", "ready"),
)
"""Who does it, where its function is, and what it does; indented ones are parts of the one above."""


def install(path: str) -> None:
    """Puts a clock around every step."""
    memory = mmap.mmap(os.open(path, os.O_RDWR), _NOTE.size * len(STEPS))
    shim = os.getpid()
    for number, (who, module, name, _) in enumerate(STEPS):
        for alternative in name.split("|"):
            owner: Any = importlib.import_module(module)
            *outer, last = alternative.split(".")
            for part in outer:
                owner = getattr(owner, part)
            timed = _timed(getattr(owner, last), memory, number * _NOTE.size, shim, by_child=who == "child")
            setattr(owner, last, timed)


def _timed(function: Any, memory: mmap.mmap, at: int, shim: int, *, by_child: bool) -> Any:
    """Notes the last call by the shim, or by another process."""

    @functools.wraps(function)
    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.monotonic()
        try:
            return function(*arguments, **options)
        finally:
            if (os.getpid() != shim) == by_child:
                _NOTE.pack_into(memory, at, began, time.monotonic())

    return timed


def read(raw: bytes) -> list[tuple[float, float]]:
    """When each step began and ended."""
    return list(_NOTE.iter_unpack(raw))


def size() -> int:
    return _NOTE.size * len(STEPS)


def main(arguments: list[str]) -> None:
    """As shim.main, with the file of notes first."""
    from agent.runtime import shim

    install(arguments[0])
    shim.main(arguments[1:])
