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

_MOST_BYTES = 1 << 16  # a line for each hierarchy, of a path at most
_QUIET = c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOEXEC


def is_own(plan: "Plan") -> bool:
    """Whether the container has a cgroup namespace that is not its parent's."""
    return bool(plan["clone"] & c.CLONE_NEWCGROUP) or any(
        flag == c.CLONE_NEWCGROUP for flag, _ in plan["join"]
    )


def hierarchies() -> list[str]:
    """The controllers of each, read while /proc is still the host's; [""] where there is only v2."""
    fd = os.open("/proc/self/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    try:
        table = os.read(fd, _MOST_BYTES).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)
    return [line.split(":")[1] for line in table.rstrip("\n").split("\n")]


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
    writable = mount["set"] & ~c.MOUNT_ATTR_RDONLY
    shelf = filesystems.make("tmpfs", ["mode=0755"], writable)
    attach(shelf)
    os.fchdir(shelf)
    for controllers in filter(None, names):
        name = controllers.removeprefix("name=")
        words = [controllers] if controllers.startswith("name=") else controllers.split(",")
        os.mkdir(name, 0o755)
        if not filesystems.mount_here("cgroup", name, words, writable):
            _put(shelf, name, filesystems.make("cgroup", words, mount["set"]))
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
        os.mkdir(name or "unified", 0o755, dir_fd=shelf)
        _put(shelf, name or "unified", fd)
    _finish(mount, shelf)


def _finish(mount: "Plan", shelf: int) -> None:
    if mount["set"] & c.MOUNT_ATTR_RDONLY:
        syscalls.mount_setattr(shelf, c.MOUNT_ATTR_RDONLY, recursive=True)
    os.close(shelf)


def _put(shelf: int, name: str, fd: int) -> None:
    target = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shelf)
    syscalls.move_mount_on(fd, target)
    os.close(target)
    os.close(fd)
