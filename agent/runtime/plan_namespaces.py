"""The namespaces of an OCI configuration → what a container gets of its own, and what it joins (pure).

A kind that is not named is the runtime's own, as the specification says.
"""

from agent.linux import constants as c
from agent.runtime import refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Plan = dict[str, Any]

KINDS = {
    "mount": c.CLONE_NEWNS,
    "pid": c.CLONE_NEWPID,
    "uts": c.CLONE_NEWUTS,
    "ipc": c.CLONE_NEWIPC,
    "network": c.CLONE_NEWNET,
    "cgroup": c.CLONE_NEWCGROUP,
    "user": c.CLONE_NEWUSER,
    "time": c.CLONE_NEWTIME,
}
NAMES = {flag: kind for kind, flag in KINDS.items()}
_CLOCKS = {"monotonic", "boottime"}
_NANOSECONDS = 1_000_000_000


def plan(config: "Mapping[str, Any]") -> "Plan":
    """`clone`: flags of the new ones; `join`: [flag, path] of the others; and what is set inside them.

    User namespaces apart.
    """
    linux = config.get("linux") or {}
    new, join = _namespaces(linux.get("namespaces") or [])
    offsets = _time_offsets(linux.get("timeOffsets") or {})
    hostname, domainname = config.get("hostname") or "", config.get("domainname") or ""
    _need(new, "timeOffsets", "time", offsets)
    joined = sum(flag for flag, _ in join)
    _need(new | joined, "hostname", "uts", hostname)
    _need(new | joined, "domainname", "uts", domainname)
    return {
        "clone": new,
        "join": join,
        "time_offsets": offsets,
        "hostname": hostname,
        "domainname": domainname,
        "sysctl": _sysctl(linux.get("sysctl") or {}, new | joined),
    }


def _namespaces(entries: "list[Mapping[str, Any]]") -> "tuple[int, list[list[Any]]]":
    new, seen = 0, 0
    join: list[list[Any]] = []
    for entry in entries:
        kind = entry.get("type")
        flag = KINDS.get(kind or "", 0)
        if not flag:
            raise refusals.refused("linux.namespaces", f"{kind} is not a kind of namespace")
        if seen & flag:
            raise refusals.refused("linux.namespaces", f"{kind} is there twice")
        seen |= flag
        path = entry.get("path")
        if flag == c.CLONE_NEWUSER:
            continue  # a matter of mappings too: plan_userids
        if not path:
            new |= flag
        elif not path.startswith("/"):
            raise refusals.refused("linux.namespaces", f"{kind}: {path} is not an absolute path")
        else:
            join.append([flag, path])
    return new, join


def _time_offsets(offsets: "Mapping[str, Any]") -> "list[list[Any]]":
    for clock, offset in offsets.items():
        if clock not in _CLOCKS:
            raise refusals.refused(
                "linux.timeOffsets", f"{clock} cannot be moved; monotonic and boottime can"
            )
        if not 0 <= offset.get("nanosecs", 0) < _NANOSECONDS:
            raise refusals.refused(f"linux.timeOffsets.{clock}", "nanosecs must be below 1000000000")
    return [[clock, one.get("secs", 0), one.get("nanosecs", 0)] for clock, one in offsets.items()]


def check_mounts(made: "Plan") -> None:
    """Without a mount namespace of its own, what is mounted for a container would be mounted for the node."""
    if made["clone"] & c.CLONE_NEWNS:
        return
    keys = {"mounts": "mounts", "masked": "linux.maskedPaths", "readonly_paths": "linux.readonlyPaths"}
    for name, key in {**keys, "readonly": "root.readonly"}.items():
        if made[name]:
            raise refusals.refused(key, "needs a new mount namespace; add one to linux.namespaces")


def _need(there: int, key: str, kind: str, value: "Any") -> None:
    """Without a namespace of its own, the setting would be the host's."""
    if value and not there & KINDS[kind]:
        where = key if kind == "uts" else f"linux.{key}"
        raise refusals.refused(where, f"needs a {kind} namespace; add one to linux.namespaces")


_IPC_SYSCTLS = {"msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"}


def _sysctl(settings: "Mapping[str, Any]", there: int) -> "list[list[str]]":
    return [[_sysctl_path(key, there), str(value)] for key, value in settings.items()]


def _sysctl_path(key: str, there: int) -> str:
    """Below /proc/sys; dots and slashes may stand for each other, as for sysctl(8)."""
    parts = _parts(key)
    if ".." in parts or "" in parts:
        raise refusals.refused("linux.sysctl", f"{key} is not a name")
    match parts:
        case ["net", *_]:
            kind = "network"
        case ["kernel", name] if name in _IPC_SYSCTLS:
            kind = "ipc"
        case ["fs", "mqueue", *_]:
            kind = "ipc"
        case ["kernel", "domainname"]:
            kind = "uts"
        case ["kernel", "hostname"]:
            raise refusals.refused("linux.sysctl", f"{key} is set by hostname; use that")
        case _:
            raise refusals.refused("linux.sysctl", f"{key} belongs to no namespace: it would change the host")
    if not there & KINDS[kind]:
        why = f"{key} needs a {kind} namespace: it would change the host"
        raise refusals.refused("linux.sysctl", why)
    return "/".join(parts)


def _parts(key: str) -> list[str]:
    """The first separator decides: in "net/ipv4/conf/eth0.100/x" a dot is a dot, as for sysctl(8)."""
    dot, slash = key.find("."), key.find("/")
    if slash < 0 or 0 <= dot < slash:
        return [part.replace("/", ".") for part in key.split(".")]
    return key.split("/")
