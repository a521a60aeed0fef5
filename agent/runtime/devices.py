"""/dev: the host's own harmless nodes, the devices that the configuration asks for, and the usual links.

The host's are bound. What a configuration asks for is made in the container's own /dev, where that is a fresh
tmpfs; else, and where a user namespace may make none, in a small tmpfs that only its single nodes leave.
"""

import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import binds, filesystems, handshake, inside, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]

_DEFAULT = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
)
_LINK, _KIND = 0o120000, 0o170000


def collect(plan: "Plan", place: str) -> dict[str, int]:
    """Path inside → a detached mount of the node; `place` is an empty directory to work on."""
    found = {f"/dev/{name}": _host_node(name, numbers) for name, numbers in _DEFAULT.items()}
    if bound := [device for device in _wanted(plan) if not _is_made_inside(device)]:
        found |= _made(plan, bound, place)
    return found


def make(root: "inside.Inside", plan: "Plan") -> None:
    """In the container's root, after its mounts."""
    for device in _wanted(plan):
        if _is_made_inside(device):
            try:
                _make_inside(root, device)
            except OSError as error:
                raise _not_made(device, error) from None


def _wanted(plan: "Plan") -> "list[Plan]":
    """Without /dev/ptmx, which is always that of the container's own terminals, as with runc."""
    return [device for device in plan["devices"] if device["path"] != "/dev/ptmx"]


def _is_made_inside(device: "Plan") -> bool:
    return bool(device["is_made_inside"]) and device["path"].removeprefix("/dev/") not in _DEFAULT


def _make_inside(root: "inside.Inside", device: "Plan") -> None:
    directory, name = os.path.split(device["path"])
    above = root.make(directory, is_directory=True)
    try:
        _mknod(above, name, device, device["uid"], device["gid"])
    finally:
        os.close(above)


def _host_node(name: str, numbers: tuple[int, int]) -> int:
    """What is called so may be anything, where /dev is not the host's (CVE-2025-31133)."""
    path = f"/dev/{name}"
    fd = binds.copy(path, f"device {name}")
    found = os.fstat(fd)
    if found.st_mode & _KIND != c.S_IFCHR or found.st_rdev != os.makedev(*numbers):
        why = f"{path} of this node is not the character device {numbers[0]}:{numbers[1]}"
        raise handshake.StepFailed("devices", why)
    return fd


def _made(plan: "Plan", wanted: "list[Plan]", place: str) -> dict[str, int]:
    shelf = filesystems.make("tmpfs", ["mode=0755"], c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NOEXEC)
    syscalls.move_mount(shelf, place)  # before Linux 6.15 a mount that is attached nowhere cannot be copied
    made = {}
    try:
        for number, device in enumerate(wanted):
            try:
                made[device["path"]] = _make(plan, shelf, str(number), device)
            except OSError as error:
                raise _not_made(device, error) from None
    finally:
        os.close(shelf)
        syscalls.umount(place, c.MNT_DETACH)
    return made


def _make(plan: "Plan", shelf: int, name: str, device: "Plan") -> int:
    _mknod(shelf, name, device, *userns.outside(plan, device["uid"], device["gid"]))
    return syscalls.open_tree(shelf, name, c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC)


def _mknod(directory: int, name: str, device: "Plan", uid: int, gid: int) -> None:
    number = os.makedev(device["major"], device["minor"])
    os.mknod(name, device["kind"] | 0o600, number, dir_fd=directory)
    os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
    os.chmod(name, device["mode"], dir_fd=directory)


def _not_made(device: "Plan", error: OSError) -> handshake.StepFailed:
    return handshake.failed("devices", f"make {device['path']} ({device['major']}:{device['minor']})", error)


def attach(root: "inside.Inside", nodes: dict[str, int]) -> None:
    """In the container's root, after its mounts; from then on the descriptors mean what is attached."""
    try:
        dev = root.make("/dev", is_directory=True)
    except OSError as error:
        raise _not_put("find /dev", error) from None
    try:
        for path, node in nodes.items():
            directory, name = os.path.split(path)
            try:
                above = dev if directory == "/dev" else root.make(directory, is_directory=True)
                nodes[path] = _attach(above, name, path, node)
                if above != dev:
                    os.close(above)
            except OSError as error:
                raise _not_put(f"put {path} in place", error, in_dev=path.startswith("/dev/")) from None
        try:
            _link(dev)
        except OSError as error:
            raise _not_put("fill /dev with links", error) from None
    finally:
        os.close(dev)


def _not_put(what: str, error: OSError, *, in_dev: bool = True) -> handshake.StepFailed:
    return handshake.failed("devices", what, error, "mount a tmpfs on /dev" if in_dev else "")


def _attach(above: int, name: str, path: str, node: int) -> int:
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
    try:
        target = os.open(name, flags, 0o644, dir_fd=above)
    except FileExistsError:
        target = syscalls.openat2(above, name, os.O_PATH | os.O_NOFOLLOW, c.RESOLVE_BENEATH)
        if _is_same(path, target, node):
            os.close(node)
            return target
    syscalls.move_mount_on(node, target)
    os.close(target)
    return node


def _is_same(path: str, target: int, node: int) -> bool:
    """Whether the node is there already, as in a /dev bound from the host: then it stays."""
    there, ours = os.fstat(target), os.fstat(node)
    if there.st_mode & _KIND == _LINK:
        why = f"{path} of the image is a symbolic link; a device cannot be put there"
        raise handshake.StepFailed("devices", why)
    return (there.st_mode & _KIND, there.st_rdev) == (ours.st_mode & _KIND, ours.st_rdev)


def _link(dev: int) -> None:
    for target, name in _LINKS:
        try:
            os.symlink(target, name, dir_fd=dev)
        except FileExistsError:
            continue
