"""OCI runtime configuration → the plan that a starting container carries out step by step (pure).

Everything is looked up here, so that the process on its way into the container only follows. What is not
supported yet is refused by its key, never ignored.
"""

import re
from collections.abc import Mapping
from typing import Any

from agent.linux import constants as c
from agent.runtime import capabilities, mounts, plan_resources, plan_seccomp
from agent.runtime.container import Launch, LaunchFailed

_CONTAINER = re.compile(r"[a-z0-9][a-z0-9.-]{0,199}")
_RLIMITS = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
]
_NAMESPACES = {
    "mount": c.CLONE_NEWNS,
    "pid": c.CLONE_NEWPID,
    "uts": c.CLONE_NEWUTS,
    "ipc": c.CLONE_NEWIPC,
    "network": c.CLONE_NEWNET,
    "cgroup": c.CLONE_NEWCGROUP,
}
_FILE_SYSTEMS = {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup"}
_UNLIMITED = (1 << 64) - 1

Plan = dict[str, Any]


def plan(launch: Launch) -> Plan:
    """The plan of a launch; LaunchFailed names the key that is wrong or not supported yet."""
    if not _CONTAINER.fullmatch(launch.container) or not _CONTAINER.fullmatch(launch.sandbox):
        raise _refused("container", f"{launch.container!r} is not a name; use [a-z0-9.-]")
    if not launch.layers:
        raise _refused("layers", "a container needs at least one layer as its root")
    for layer in launch.layers:
        if "," in layer or ":" in layer:
            raise _refused("layers", f"{layer}: the path of a layer holds no comma or colon")
    try:
        return _plan(launch)
    except (TypeError, AttributeError) as error:
        raise _refused("config", f"has a value of the wrong shape: {error}") from error


def _plan(launch: Launch) -> Plan:
    config = launch.config
    _known(config, "", "ociVersion process root mounts hostname domainname annotations linux")
    linux = config.get("linux", {})
    _known(
        linux,
        "linux.",
        "namespaces resources maskedPaths readonlyPaths sysctl rootfsPropagation seccomp",
    )
    if linux.get("rootfsPropagation", "private") not in {"private", "rprivate", "slave", "rslave"}:
        raise _refused("linux.rootfsPropagation", "only private and slave are supported yet")
    root = config.get("root", {})
    _known(root, "root.", "path readonly")
    flags, network = _namespaces(linux.get("namespaces", []))
    return {
        "container": launch.container,
        "sandbox": launch.sandbox,
        "logs": launch.logs,
        "log_max_bytes": launch.log_max_bytes,
        "log_max_files": launch.log_max_files,
        "init": launch.init,
        "layers": list(launch.layers),
        "clone": flags,
        "network": network,
        "readonly": bool(root.get("readonly")),
        "mounts": [_mount(number, entry) for number, entry in enumerate(config.get("mounts", []))],
        "hostname": config.get("hostname", ""),
        "domainname": config.get("domainname", ""),
        "masked": list(linux.get("maskedPaths", [])),
        "readonly_paths": list(linux.get("readonlyPaths", [])),
        "sysctl": [[key.replace(".", "/"), str(value)] for key, value in linux.get("sysctl", {}).items()],
        "limits": plan_resources.limits(linux.get("resources", {})),
        "seccomp": plan_seccomp.program(linux.get("seccomp")),
        **_process(config.get("process", {})),
    }


def _process(process: Mapping[str, Any]) -> Plan:
    _known(
        process,
        "process.",
        "terminal user args env cwd capabilities rlimits noNewPrivileges oomScoreAdj",
    )
    if process.get("terminal"):
        raise _refused("process.terminal", "a main process with a terminal is not supported yet; use enter")
    if not process.get("args"):
        raise _refused("process.args", "is empty: neither image nor service says what to run")
    cwd = process.get("cwd", "/")
    if not cwd.startswith("/"):
        raise _refused("process.cwd", f"{cwd} is not absolute")
    user = process.get("user", {})
    _known(user, "process.user.", "uid gid additionalGids umask")
    return {
        "args": list(process["args"]),
        "env": _environment(process.get("env", [])),
        "cwd": cwd,
        "uid": user.get("uid", 0),
        "gid": user.get("gid", 0),
        "groups": list(user.get("additionalGids", [])),
        "umask": user.get("umask", 0o022),
        "capabilities": _capabilities(process.get("capabilities", {})),
        "rlimits": [_rlimit(entry) for entry in process.get("rlimits", [])],
        "no_new_privileges": bool(process.get("noNewPrivileges")),
        "oom_score_adj": process.get("oomScoreAdj"),
    }


def _environment(entries: list[str]) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in pairs if name}


def _namespaces(entries: list[Mapping[str, Any]]) -> tuple[int, str]:
    """Flags for clone, and the path of the network namespace to join ("" for none)."""
    flags = 0
    network = ""
    for entry in entries:
        kind = entry.get("type")
        if kind not in _NAMESPACES:
            raise _refused("linux.namespaces", f"a {kind} namespace is not supported yet")
        if path := entry.get("path"):
            if kind != "network":
                raise _refused("linux.namespaces", f"joining a {kind} namespace by path is not supported yet")
            network = path
        else:
            flags |= _NAMESPACES[kind]
    for kind in ("mount", "pid"):
        if not flags & _NAMESPACES[kind]:
            raise _refused("linux.namespaces", f"a container without a {kind} namespace is not supported yet")
    return flags, network


def _mount(number: int, entry: Mapping[str, Any]) -> Plan:
    where = f"mounts[{number}]"
    _known(entry, f"{where}.", "destination source type options")
    target = entry["destination"]
    if not target.startswith("/"):
        raise _refused(f"{where}.destination", f"{target} is not absolute")
    try:
        options = mounts.options(entry.get("options", []))
    except ValueError as error:
        raise _refused(f"{where}.options", f"{error} is not supported yet") from error
    binding = bool(options.flags & c.MS_BIND) or entry.get("type") in {"bind", "rbind"}
    kind = "bind" if binding else entry.get("type", "")
    if kind not in _FILE_SYSTEMS | {"bind"}:
        raise _refused(f"{where}.type", f"{kind or 'none'} is not supported yet")
    if binding and options.data:
        raise _refused(f"{where}.options", f"{options.data} is not supported yet")
    return {
        "kind": kind,
        "source": entry.get("source", kind),
        "target": target,
        "flags": options.flags & ~(c.MS_BIND | c.MS_REC),
        "recursive": bool(options.flags & c.MS_REC),
        "attributes": mounts.attributes(options.flags),
        "propagation": options.propagation,
        "data": options.data,
    }


def _capabilities(sets: Mapping[str, Any]) -> dict[str, int]:
    _known(sets, "process.capabilities.", "bounding effective permitted inheritable ambient")
    try:
        names = ("bounding", "effective", "permitted", "inheritable", "ambient")
        return {name: capabilities.mask(sets.get(name, [])) for name in names}
    except KeyError as error:
        raise _refused("process.capabilities", f"{error.args[0]} is not a capability") from error


def _rlimit(entry: Mapping[str, Any]) -> list[int]:
    kind = str(entry.get("type", "")).removeprefix("RLIMIT_")
    if kind not in _RLIMITS:
        raise _refused("process.rlimits", f"{entry.get('type')} is not a limit")
    soft, hard = (-1 if entry[name] >= _UNLIMITED else entry[name] for name in ("soft", "hard"))
    return [_RLIMITS.index(kind), soft, hard]


def _known(values: Mapping[str, Any], prefix: str, keys: str) -> None:
    supported = keys.split()
    for key, value in values.items():
        if key not in supported and value not in (None, {}, [], ""):
            raise _refused(f"{prefix}{key}", "is not supported yet; take it out of the configuration")


def _refused(key: str, why: str) -> LaunchFailed:
    return LaunchFailed("config", f"{key} {why}")
