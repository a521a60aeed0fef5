"""A container in a few words → OCI runtime configuration with safe defaults (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.runtime import capabilities
from agent.runtime import mounts as mounts_
from agent.runtime.seccomp import default

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
IDS = 65536
"""How many ids a container has in a user namespace: 0 to 65535, and no others."""
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def config(
    args: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    uid: int = 0,
    gid: int = 0,
    groups: Sequence[int] = (),
    hostname: str = "",
    network: str = "",
    mounts: Sequence[Mapping[str, Any]] = (),
    readonly: bool = False,
    memory_bytes: int | None = None,
    cpu_cores: float | None = None,
    cpu_shares: int | None = None,
    pids: int | None = None,
    added_capabilities: Sequence[str] = (),
    dropped_capabilities: Sequence[str] = (),
    ambient_capabilities: Sequence[str] = (),
    no_new_privileges: bool = True,
    unmasked: bool = False,
    writable_sys: bool = False,
    shm_bytes: int = 64 << 20,
    terminal: bool = False,
    rlimits: Sequence[Mapping[str, Any]] = (),
    sysctl: Mapping[str, str] | None = None,
    seccomp: bytes | None = None,
    every_device: bool = False,
    devices: Sequence[Mapping[str, Any]] = (),
    first_id: int = 0,
) -> dict[str, Any]:
    """`network` is the path of a namespace to join; without one the container gets an empty one.

    `seccomp`: a compiled filter, b"" for none at all; left out, the default one for these capabilities.
    `devices`: rows of linux.devices, beside those that every container has.
    `first_id`: the host's id for the container's root, in a user namespace that owns the network namespace;
    0 is the host's own user namespace, where root is root.
    """
    kept = [name for name in capabilities.DEFAULT if name not in dropped_capabilities]
    names = [*kept, *(name for name in added_capabilities if name not in kept)]
    linux: dict[str, Any] = {
        "namespaces": [
            *({"type": kind} for kind in ("mount", "pid", "uts", "ipc", "cgroup")),
            {"type": "network", "path": network} if network else {"type": "network"},
            *([{"type": "user", "path": network}] if first_id else []),
        ],
        "resources": _resources(memory_bytes, cpu_cores, cpu_shares, pids) | _devices(every_device),
        "maskedPaths": [] if unmasked else list(MASKED),
        "readonlyPaths": [] if unmasked else list(READONLY),
        "sysctl": dict(sysctl or {}),
    }
    if devices:
        linux["devices"] = [dict(device) for device in devices]
    if first_id:
        ids = {"containerID": 0, "hostID": first_id, "size": IDS}
        linux |= {"uidMappings": [ids], "gidMappings": [ids]}
    if seccomp is None:
        seccomp = default.program(names)
    if seccomp:
        linux["seccomp"] = {"orchCompiled": seccomp}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": list(args),
            "terminal": terminal,
            "env": [f"{name}={value}" for name, value in (env or {}).items()],
            "cwd": cwd,
            "user": {"uid": uid, "gid": gid, "additionalGids": list(groups)},
            "capabilities": _capabilities(names, ambient_capabilities),
            "noNewPrivileges": no_new_privileges,
            "rlimits": list(rlimits),
            "oomScoreAdj": 0,  # else it would be spared as shim and agent are, when memory runs out
        },
        "root": {"path": "rootfs", "readonly": readonly},
        "hostname": hostname,
        "mounts": [*_file_systems(shm_bytes, writable=writable_sys, with_devices=bool(devices)), *mounts],
        "linux": linux,
    }


def bind(source: str, destination: str, *, readonly: bool = False, idmap: bool = False) -> dict[str, Any]:
    """A file or directory of the host, with what is mounted below it.

    `idmap`: in a user namespace, the container's root is root there too.
    """
    options = ["rbind", "rprivate", "rro" if readonly else "rw", "rnosuid", "rnodev"]
    options += ["ridmap"] if idmap else []
    return {"type": "bind", "source": source, "destination": destination, "options": options}


def volume(source: str, destination: str) -> dict[str, Any]:
    """A directory of the host that begins with what the image has there (`copyup.UNFILLED`)."""
    options = ["bind", "rprivate", "rw", "nosuid", "nodev", mounts_.FILLED_ONCE]
    return {"type": "bind", "source": source, "destination": destination, "options": options}


def tmpfs(destination: str, *, size_bytes: int, mode: int = 0o1777) -> dict[str, Any]:
    options = ["nosuid", "nodev", f"size={size_bytes}", f"mode={mode:o}"]
    return {"type": "tmpfs", "source": "tmpfs", "destination": destination, "options": options}


def _capabilities(names: Sequence[str], ambient: Sequence[str]) -> dict[str, list[str]]:
    """Ambient ones survive the exec of a user who is not root."""
    sets = {kind: list(names) for kind in ("bounding", "effective", "permitted")}
    return sets | {kind: list(ambient) for kind in ("inheritable", "ambient") if ambient}


def _file_systems(shm_bytes: int, *, writable: bool, with_devices: bool) -> list[dict[str, Any]]:
    quiet = ["nosuid", "noexec", "nodev"]
    access = "rw" if writable else "ro"
    nodes = "dev" if with_devices else "nodev"  # they are made in it, not bound one by one
    return [
        _mount("/proc", "proc", quiet),
        _mount("/dev", "tmpfs", ["nosuid", nodes, "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5", "dev"],
        ),
        _mount("/dev/shm", "tmpfs", [*quiet, "mode=1777", f"size={shm_bytes}"]),
        _mount("/dev/mqueue", "mqueue", quiet),
        _mount("/sys", "sysfs", [*quiet, access]),
        _mount("/sys/fs/cgroup", "cgroup", [*quiet, "relatime", access]),
    ]


def _mount(destination: str, kind: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": kind, "options": options}


def _resources(
    memory: int | None, cores: float | None, shares: int | None, pids: int | None
) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if memory is not None:
        resources["memory"] = {"limit": memory, "swap": memory}
    if cores is not None:
        resources["cpu"] = {"quota": int(cores * 100_000), "period": 100_000}
    if shares is not None:
        resources.setdefault("cpu", {})["shares"] = shares
    if pids is not None:
        resources["pids"] = {"limit": pids}
    return resources


def _devices(every: bool) -> dict[str, Any]:
    """Without rules they are the usual ones."""
    return {"devices": [{"allow": True, "access": "rwm"}]} if every else {}
