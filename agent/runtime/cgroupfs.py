"""The cgroup mount of a container: v2 where the host has only that, on v1 a directory for each controller.

In a cgroup namespace of its own the container's group is the root that it sees; without one only its own
group is bound in, never the host's tree.
"""

import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import filesystems

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]

_QUIET = c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOEXEC


def hierarchies() -> list[str]:
    """The controllers of each, read while /proc is still the host's; [""] where there is only v2."""
    with open("/proc/self/cgroup", encoding="utf-8") as table:
        return [line.split(":")[1] for line in table]


def own_groups(group: str) -> dict[str, int]:
    """Name → a detached bind of our own group, for a container that shares the host's cgroup namespace."""
    found = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.split(" ")
            kind, options = fields[fields.index("-") + 1], fields[-1].strip().split(",")
            if kind not in {"cgroup", "cgroup2"} or fields[3] != "/":
                continue
            path = f"{fields[4]}/{group}"
            name = "" if kind == "cgroup2" else os.path.basename(fields[4])
            if os.path.isdir(path) and name not in found and options:
                found[name] = syscalls.open_tree(c.AT_FDCWD, path, c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC)
    return found


def make(mount: "Plan", names: list[str], attach: "Any") -> None:
    """`attach(fd)` puts a detached mount on the mount's target."""
    if names == [""]:
        whole = filesystems.make("cgroup2", [], mount["set"])
        attach(whole)
        os.close(whole)
        return
    shelf = filesystems.make("tmpfs", ["mode=0755"], mount["set"] & ~c.MOUNT_ATTR_RDONLY)
    attach(shelf)
    for controllers in filter(None, names):
        name = controllers.removeprefix("name=")
        words = [controllers] if controllers.startswith("name=") else controllers.split(",")
        fd = filesystems.make("cgroup", words, mount["set"])
        _put(shelf, name, fd)
        for alias in controllers.split(",") if "," in controllers else ():
            os.symlink(name, alias, dir_fd=shelf)
    _finish(mount, shelf)


def bind(mount: "Plan", groups: dict[str, int], attach: "Any") -> None:
    """Without a cgroup namespace."""
    if list(groups) == [""]:
        syscalls.mount_setattr(groups[""], mount["set"])
        attach(groups[""])
        os.close(groups[""])
        return
    shelf = filesystems.make("tmpfs", ["mode=0755"], mount["set"] & ~c.MOUNT_ATTR_RDONLY)
    attach(shelf)
    for name, fd in groups.items():
        syscalls.mount_setattr(fd, mount["set"] | _QUIET)
        _put(shelf, name or "unified", fd)
    _finish(mount, shelf)


def _finish(mount: "Plan", shelf: int) -> None:
    if mount["set"] & c.MOUNT_ATTR_RDONLY:
        syscalls.mount_setattr(shelf, c.MOUNT_ATTR_RDONLY)
    os.close(shelf)


def _put(shelf: int, name: str, fd: int) -> None:
    os.mkdir(name, 0o755, dir_fd=shelf)
    target = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shelf)
    syscalls.move_mount_on(fd, target)
    os.close(target)
    os.close(fd)
