"""Groups of processes: made, limited, joined, killed; on cgroup v2 and on v1 or hybrid hosts.

A group is named by its path below the mount ("orch/dev/node-1/web.1/main-0"). Only groups that were
created here are touched. What limits mean is worked out before, in plan_resources. Imported by the shim:
no heavy imports.
"""

from agent.runtime import cgroup_v1, cgroup_v2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Limits: TypeAlias = dict[str, Any]
    Cgroups: TypeAlias = cgroup_v1.V1 | cgroup_v2.V2

_HELPERS = "_helpers"
"""No task can have this name."""
_NO_OPTIONS = {
    "rw",
    "ro",
    "relatime",
    "noatime",
    "nosuid",
    "nodev",
    "noexec",
    "xattr",
    "noprefix",
    "clone_children",
}


def detect(mounts: str = "/proc/self/mounts") -> "Cgroups":
    """The driver that fits this machine."""
    with open(mounts, encoding="utf-8") as table:
        rows = [line.split() for line in table]
    unified = next((row[1] for row in rows if row[2] == "cgroup2"), "")
    named: dict[str, str] = {}
    for row in rows:
        if row[2] == "cgroup":
            for option in row[3].split(","):
                if option not in _NO_OPTIONS:
                    named.setdefault(option, row[1])
    if "memory" not in named and unified:
        return cgroup_v2.V2(unified)
    return cgroup_v1.V1(named, unified)


def tree(cgroups: "Cgroups", group: str) -> list[str]:
    """The group and all below it, each after the one that holds it; a container may nest them deep."""
    found = [group]
    for one in found:
        found += [f"{one}/{child}" for child in cgroups.children(one)]
    return found


def remove_tree(cgroups: "Cgroups", group: str) -> bool:
    """With the groups that somebody made below. Whether all is gone: the dying take a moment to leave."""
    if cgroups.remove(group):
        return True
    gone = [cgroups.remove(one) for one in reversed(tree(cgroups, group))]
    return all(gone)


def join_helpers(cgroups: "Cgroups", root: str, pid: int = 0) -> None:
    """The process itself, or another one, goes into the group of the node's own helpers."""
    group = f"{root}/{_HELPERS}"
    cgroups.create_helper(group)
    cgroups.join(group, pid)
