"""What a container mounts from the host, as detached copies with their options already on.

Opened by the child before it enters its root, while paths still mean the host's files.
"""

import errno
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]

_CLONE = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC


def of(mount: "Plan") -> int:
    """A copy of what a plan's mount binds."""
    source, target = mount["source"], mount["target"]
    fd = copy(source, f"bind {target}", recursive=mount["recursive"])
    try:
        set_attributes(fd, mount)
        tie(fd, mount["propagation"] or [[c.MS_PRIVATE, mount["recursive"]]])
    except OSError as error:
        raise handshake.failed("mounts", f"bind {source} on {target} with its options", error) from None
    return fd


def copy(path: str, why: str, *, recursive: bool = False) -> int:
    try:
        return syscalls.open_tree(c.AT_FDCWD, path, _CLONE | (c.AT_RECURSIVE if recursive else 0))
    except OSError as error:
        raise handshake.failed("mounts", f"{why}: {path}", error, "it must exist on this node") from None


def copy_of(fd: int, *, recursive: bool = False) -> int:
    """Of what a descriptor means. Before Linux 6.15 not of a mount that is attached nowhere."""
    return syscalls.open_tree(fd, "", _CLONE | c.AT_EMPTY_PATH | (c.AT_RECURSIVE if recursive else 0))


def set_attributes(fd: int, mount: "Plan") -> None:
    """The plain options on the mount itself, those with an r on everything below it too."""
    if mount["rset"] or mount["rclear"]:
        syscalls.mount_setattr(fd, mount["rset"], clear=mount["rclear"], recursive=True)
    if mount["set"] or mount["clear"]:
        syscalls.mount_setattr(fd, mount["set"], clear=mount["clear"])


def tie(fd: int, propagation: "list[list[Any]]") -> None:
    """How mounts that appear on one side reach the other."""
    for flag, recursive in propagation:
        syscalls.mount_setattr(fd, 0, flag, recursive=recursive)


def map_ids(fd: int, users: int, source: str, *, recursive: bool = False) -> None:
    """Who owns a file on the disk is, inside, who has that number in the user namespace: root is root."""
    try:
        syscalls.mount_setattr(fd, 0, user_namespace=users, recursive=recursive)
    except OSError as error:
        hint = ""
        if error.errno in {errno.EINVAL, errno.EPERM}:
            which = _file_systems(source, below=recursive)
            hint = (
                f"{which} cannot show files under other owners on Linux {os.uname().release}; move it, or "
                "run without a user namespace (security.userNamespace: false)"
            )
        raise handshake.failed("mounts", f"map the owners of {source}", error, hint) from None


def _file_systems(path: str, *, below: bool) -> str:
    """What is mounted there and, where that matters, below it, as /proc/self/mountinfo calls it."""
    path, best, kind, others = os.path.realpath(path), "", "its file system", []
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                fields = line.split(" ")
                place, this = fields[4], fields[fields.index("-") + 1]
                if (place in {"/", path} or path.startswith(f"{place}/")) and len(place) >= len(best):
                    best, kind = place, this
                elif below and place.startswith(f"{path}/"):
                    others.append(f"{this} (mounted on {place})")
    except (OSError, ValueError):
        return kind
    return " or ".join([f"{kind} (mounted on {best})", *others])
