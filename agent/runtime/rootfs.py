"""The root of a container, step by step: from an empty directory to "/", seen only in its own namespace.

Runs in the child, already in a mount namespace of its own. What comes from the host is opened before
pivot_root and attached by descriptor after it. With a user namespace the second half runs with the
privileges of the container's own root: then nothing that an image or a volume contains can make us do
what its processes could not do themselves.
"""

import errno
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import (
    binds,
    cgroupfs,
    copyup,
    devices,
    filesystems,
    handshake,
    inside,
    loopback,
    masks,
    overlay,
    userns,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Plan = dict[str, Any]

_OURS = {"bind", "cgroup"}
_WITH_ITS_OWNER = {"tmpfs", "ramfs", "devpts", "mqueue"}
"""Made once inside the user namespace, so that they belong to its root; all others need the host's power."""
_KERNELS_OWN = {"proc", "sysfs"}


def enter(plan: "Plan", place: str, upper: str, before_pivot: "Callable[[], None]") -> None:
    """Make the root at `place` (an empty directory) over `upper`, make it "/", and fill it.

    Or of the plan's `rootfs`, a directory. `before_pivot` is where hooks run that want to see the root from
    outside.
    """
    sources = _open_sources(plan)
    try:
        syscalls.mount("", "/", "", c.MS_REC | c.MS_PRIVATE)
    except OSError as error:
        raise handshake.failed("mounts", "make the mounts private", error) from None
    users = userns.hold(plan)
    if plan["clone"] & c.CLONE_NEWNET:
        loopback.raise_it()
    _map_owners(plan, sources, users)
    nodes = devices.collect(plan, place)
    cgroups = _prepare_cgroups(plan)
    place = overlay.mount(plan, place, upper, users)
    before_pivot()
    _pivot(place)
    made = {
        number: filesystems.of(mount)
        for number, mount in enumerate(plan["mounts"])
        if mount["kind"] not in _OURS | _WITH_ITS_OWNER
    }
    if users >= 0:
        userns.enter(plan, users)
    root = inside.Inside()
    mounted = _mount_all(plan, root, sources | made)
    devices.attach(root, nodes)
    devices.make(root, plan)
    places = masks.Places(root, mounted)
    masks.make_readonly(places, plan["readonly_paths"])
    masks.mask(places, plan["masked"], nodes["/dev/null"])
    for fd in (*nodes.values(), *mounted.values()):
        os.close(fd)
    plan["inside"] = root, cgroups


def mount_cgroups(plan: "Plan") -> None:
    """Last, because only who is in its group, in a namespace of its own, mounts nothing but that."""
    root, (names, groups) = plan.pop("inside")
    for mount in plan["mounts"]:
        if mount["kind"] == "cgroup":
            _mount_cgroup(root, mount, names, groups)
    try:
        flag, recursive = plan["root_propagation"]
        if flag:
            syscalls.mount("", "/", "", flag | (c.MS_REC if recursive else 0))
        if plan["readonly"]:
            syscalls.mount_setattr(root.root, c.MOUNT_ATTR_RDONLY)
    except OSError as error:
        raise handshake.failed("root", "make the root read-only, or set its propagation", error) from None
    root.close()
    os.chdir("/")  # out of where something was mounted last


def _open_sources(plan: "Plan") -> dict[int, int]:
    """Before anything is made private: a slave or shared bind stays tied to the host's mounts."""
    return {
        number: binds.of(mount)
        for number, mount in enumerate(plan["mounts"])
        if mount["kind"] == "bind" and not mount["remount"]
    }


def _map_owners(plan: "Plan", sources: dict[int, int], users: int) -> None:
    """As the mount says itself, else as the container's user namespace."""
    for number, source in sources.items():
        mount = plan["mounts"][number]
        if not mount["idmap"]:
            continue
        if not mount["uid"]:
            if users >= 0:  # without a user namespace every owner is who he is
                binds.map_ids(source, users, mount["source"], recursive=mount["idmap"] == "ridmap")
            continue
        own = mount["users_fd"]
        binds.map_ids(source, own, mount["source"], recursive=mount["idmap"] == "ridmap")
        os.close(own)


def _prepare_cgroups(plan: "Plan") -> "tuple[list[str], dict[str, int] | None]":
    """What has to be known of the host's cgroups; bound groups where the container has no such namespace."""
    if all(mount["kind"] != "cgroup" for mount in plan["mounts"]):
        return [], None
    return cgroupfs.hierarchies(), None if cgroupfs.is_own(plan) else cgroupfs.own_groups(plan["group"])


def _pivot(place: str) -> None:
    try:
        os.chdir(place)
        syscalls.pivot_root(".", ".")
        syscalls.umount(".", c.MNT_DETACH)
        os.chdir("/")
    except OSError as error:
        raise handshake.failed("root", "pivot_root into the new root", error) from None


def _mount_all(plan: "Plan", root: "inside.Inside", ready: dict[int, int]) -> dict[str, int]:
    """In the order of the configuration; what comes back are the roots of proc and sysfs."""
    kept: dict[str, int] = {}
    for number, mount in enumerate(plan["mounts"]):
        kind, target = mount["kind"], mount["target"]
        if kind == "cgroup":
            continue
        if mount["remount"]:
            _remount(root, mount)
            continue
        if number not in ready and _mount_at_once(root, mount):
            continue
        fd = ready[number] if number in ready else filesystems.of(mount)
        attach(root, mount, fd)
        if kind in _KERNELS_OWN:
            kept[target] = fd
        else:
            os.close(fd)
    return kept


def _mount_at_once(root: "inside.Inside", mount: "Plan") -> bool:
    """With one call from inside its place, where nothing else has to be done with it; else the long way tells why."""
    if mount["copyup"] or mount["rset"] or mount["rclear"] or mount["propagation"]:
        return False
    try:
        target = root.make(mount["target"], is_directory=True, plain=mount["plain"])
        try:
            os.fchdir(target)
        finally:
            os.close(target)
    except OSError:
        return False
    return filesystems.mount_here(mount["kind"], ".", mount["data"], mount["set"], source=mount["source"])


def attach(root: "inside.Inside", mount: "Plan", fd: int) -> None:
    """Put a detached mount where it belongs; its place is made where it is missing."""
    kind, path = mount["kind"], mount["target"]
    try:
        target = root.make(path, is_directory=inside.is_directory(fd), plain=mount["plain"])
        try:
            if mount["copyup"] or (mount["fill"] and copyup.is_unfilled(fd)):
                _copy_up(target, fd)
            syscalls.move_mount_on(fd, target)
        finally:
            os.close(target)
        if kind != "bind":
            binds.set_attributes(fd, {**mount, "set": 0, "clear": 0})
            binds.tie(fd, mount["propagation"])
    except OSError as error:
        doing = f" ({error.filename})" if error.filename and error.filename != path else ""
        raise handshake.failed("mounts", f"{kind} on {path}{doing}", error, _hint(mount, error)) from None


def _copy_up(target: int, fd: int) -> None:
    if inside.is_directory(target):
        copyup.copy(target, fd)


def _remount(root: "inside.Inside", mount: "Plan") -> None:
    path = mount["target"]
    try:
        fd = root.find(path)
        binds.set_attributes(fd, mount)
        binds.tie(fd, mount["propagation"])
        os.close(fd)
    except OSError as error:
        hint = "only what is a mount already can be mounted again"
        raise handshake.failed("mounts", f"change the options of {path}", error, hint) from None


def _mount_cgroup(
    root: "inside.Inside", mount: "Plan", names: list[str], groups: "dict[str, int] | None"
) -> None:
    def put(fd: int) -> None:
        attach(root, mount, fd)

    try:
        if groups is None:
            cgroupfs.make(mount, names, put)
        else:
            cgroupfs.bind(mount, groups, put)
    except OSError as error:
        raise handshake.failed("mounts", f"cgroup on {mount['target']}", error) from None


def _hint(mount: "Plan", error: OSError) -> str:
    match error.errno:
        case errno.ENOTDIR:
            return "a file must be mounted on a file, a directory on a directory"
        case errno.ELOOP if mount["plain"]:
            return f"{mount['kind']} is mounted on no symbolic link; {mount['target']} of the image is one"
        case errno.EROFS:
            return f"{mount['target']} is not there, and cannot be made on what is read-only"
        case _:
            return ""
