"""The root of a container: an overlay, pivot_root, then its mounts, seen only in its own namespace.

Runs in the child, already in the new mount namespace. What comes from the host is opened before
pivot_root and attached by descriptor after it, so that no symbolic link of an image can point a mount
out of the root.
"""

import errno
import os
import stat

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Plan = dict[str, Any]

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
    ("pts/ptmx", "/dev/ptmx"),
)
_PAGE_BYTES = 4096  # mount(2) takes one page of options


def enter(plan: "Plan", place: str, upper: str, before_pivot: "Callable[[], None]") -> None:
    """Make the root at `place` (an empty directory) over `upper`, fill it, and make it "/".

    Or of the plan's `rootfs`, a directory. `before_pivot` is where hooks run that want to see the root from
    outside.
    """
    try:
        syscalls.mount("", "/", "", c.MS_REC | c.MS_PRIVATE)
    except OSError as error:
        raise handshake.failed("mounts", "make the mounts private", error) from None
    devices = {name: _clone(f"/dev/{name}", f"device {name}") for name in _DEVICES}
    sources = [_source(mount) if mount["kind"] == "bind" else -1 for mount in plan["mounts"]]
    if plan["rootfs"]:
        place = _bind(plan["rootfs"])
    else:
        _overlay(plan["layers"], place, upper)
    before_pivot()
    _pivot(place)
    for mount, source in zip(plan["mounts"], sources, strict=True):
        if mount["kind"] != "cgroup":
            _mount(mount, source)
    _devices(devices)
    for path in plan["readonly_paths"]:
        _make_readonly(path)
    for path in plan["masked"]:
        _mask(path, devices["null"])
    for fd in devices.values():
        os.close(fd)


def mount_cgroups(plan: "Plan") -> None:
    """Last, because only who is in its group, in a namespace of its own, mounts nothing but that."""
    for mount in plan["mounts"]:
        if mount["kind"] == "cgroup":
            _mount(mount, -1)
    if plan["readonly"]:
        syscalls.mount("", "/", "", c.MS_REMOUNT | c.MS_BIND | c.MS_RDONLY | c.MS_NODEV)


def _overlay(layers: list[str], place: str, upper: str) -> None:
    lower = ":".join(reversed(layers))
    rest = f",upperdir={upper}/upper,workdir={upper}/work,volatile"
    opened: list[int] = []
    try:
        if len(lower) + len(rest) + 10 >= _PAGE_BYTES:
            opened = [os.open(layer, os.O_PATH | os.O_CLOEXEC) for layer in reversed(layers)]
            os.chdir("/proc/self/fd")  # the shortest names that a directory can have
            lower = ":".join(map(str, opened))
        # volatile: the root is thrown away with its container, so nobody waits for it to reach a disk.
        syscalls.mount("overlay", place, "overlay", c.MS_NODEV, f"lowerdir={lower}{rest}")
    except OSError as error:
        what = f"overlay of {len(layers)} layers with {upper}"
        missing = [layer for layer in layers if not os.path.isdir(layer)]
        if missing:
            raise handshake.StepFailed(
                "root", f"{what}: layer {missing[0]} is not there; pull again"
            ) from None
        hint = (
            "the state directory must be on ext4, xfs, btrfs or tmpfs" if error.errno == errno.EINVAL else ""
        )
        raise handshake.failed("root", what, error, hint) from None
    for fd in opened:
        os.close(fd)


def _bind(root: str) -> str:
    """A directory as it is: it must be a mount of its own to be pivoted to."""
    try:
        fd = syscalls.open_tree(
            c.AT_FDCWD, root, c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_RECURSIVE
        )
        syscalls.move_mount(fd, root)
        os.close(fd)
    except OSError as error:
        raise handshake.failed("root", f"use {root} as the root", error) from None
    return root


def _pivot(place: str) -> None:
    try:
        os.chdir(place)
        syscalls.pivot_root(".", ".")
        syscalls.umount(".", c.MNT_DETACH)
        os.chdir("/")
    except OSError as error:
        raise handshake.failed("root", "pivot_root into the new root", error) from None


def _source(mount: "Plan") -> int:
    """A detached copy of what is bound, with its options already on."""
    source, target = mount["source"], mount["target"]
    fd = _clone(source, f"bind {target}", recursive=mount["recursive"])
    try:
        attributes, propagation = mount["attributes"], mount["propagation"] & ~c.MS_REC
        syscalls.mount_setattr(fd, attributes, propagation or c.MS_PRIVATE, recursive=mount["recursive"])
    except OSError as error:
        raise handshake.failed("mounts", f"bind {source} on {target} with its options", error) from None
    return fd


def _clone(path: str, why: str, *, recursive: bool = False) -> int:
    flags = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | (c.AT_RECURSIVE if recursive else 0)
    try:
        return syscalls.open_tree(c.AT_FDCWD, path, flags)
    except OSError as error:
        raise handshake.failed("mounts", f"{why}: {path}", error, "it must exist on this node") from None


def _mount(mount: "Plan", source: int) -> None:
    kind, target = mount["kind"], mount["target"]
    try:
        if source >= 0:
            _make_target(target, is_directory=stat.S_ISDIR(os.fstat(source).st_mode))
            syscalls.move_mount(source, target)
            os.close(source)
            return
        _make_target(target, is_directory=True)
        if kind == "cgroup":
            _mount_cgroup(target, mount["flags"])
            return
        syscalls.mount(mount["source"], target, kind, mount["flags"], mount["data"])
        if mount["propagation"]:
            syscalls.mount("", target, "", mount["propagation"])
    except OSError as error:
        raise handshake.failed("mounts", f"{kind} on {target}", error, _hint(kind, error)) from None


def _hint(kind: str, error: OSError) -> str:
    if error.errno == errno.EINVAL and kind == "tmpfs":
        return "look at its options (size, mode)"
    if error.errno == errno.ENOTDIR:
        return "a file must be mounted on a file, a directory on a directory"
    return ""


def _make_target(target: str, *, is_directory: bool) -> None:
    """The root is "/" already, so that links resolve inside the image."""
    if os.path.lexists(target):
        return
    if is_directory:
        os.makedirs(target, 0o755, exist_ok=True)
        return
    os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))


def _mount_cgroup(target: str, flags: int) -> None:
    """v2 where the host has only that; on v1 a directory for each controller, as runc does."""
    with open("/proc/self/cgroup", encoding="utf-8") as table:
        hierarchies = [line.split(":")[1] for line in table]
    if hierarchies == [""]:
        syscalls.mount("cgroup", target, "cgroup2", flags)
        return
    syscalls.mount("tmpfs", target, "tmpfs", flags & ~c.MS_RDONLY, "mode=755")
    for controllers in hierarchies:
        if not controllers:
            continue
        path = f"{target}/{controllers.removeprefix('name=')}"
        os.mkdir(path, 0o755)
        syscalls.mount("cgroup", path, "cgroup", flags, controllers)
    syscalls.mount("", target, "", flags | c.MS_REMOUNT | c.MS_BIND)


def _devices(devices: dict[str, int]) -> None:
    """The host's own nodes, bound: every file system of a container is nodev."""
    try:
        for name, fd in devices.items():
            path = f"/dev/{name}"
            _make_target(path, is_directory=False)
            syscalls.move_mount(fd, path)
        for target, link in _LINKS:
            if not os.path.lexists(link):
                os.symlink(target, link)
    except OSError as error:
        raise handshake.failed("mounts", "fill /dev", error, "mount a tmpfs on /dev") from None


def _make_readonly(path: str) -> None:
    try:
        fd = syscalls.open_tree(c.AT_FDCWD, path, c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_RECURSIVE)
    except FileNotFoundError:
        return
    try:
        syscalls.mount_setattr(fd, c.MOUNT_ATTR_RDONLY, recursive=True)
        syscalls.move_mount(fd, path)
    except OSError as error:
        raise handshake.failed("mounts", f"make {path} read-only", error) from None
    finally:
        os.close(fd)


def _mask(path: str, null: int) -> None:
    """A file becomes /dev/null, a directory an empty one; what is not there needs no mask.

    /dev/null is in place by now: before Linux 6.15 a mount that is attached nowhere cannot be copied.
    """
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            syscalls.mount("tmpfs", path, "tmpfs", c.MS_RDONLY, "size=0k")
            return
        fd = syscalls.open_tree(null, "", c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_EMPTY_PATH)
        syscalls.move_mount(fd, path)
        os.close(fd)
    except FileNotFoundError:
        return
    except OSError as error:
        raise handshake.failed("mounts", f"mask {path}", error) from None
