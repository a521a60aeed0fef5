"""`spec`: a config.json to begin with, as runc writes it."""

import os

from agent.orchrun import jsontext
from agent.orchrun.call import Call
from agent.orchrun.errors import Failed
from agent.runtime import spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPTIONS = {"bundle,b": "text", "file,f": "text", "rootless": "flag"}
ARGUMENTS = ""

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(call: Call) -> int:
    call.expect(0, 0)
    path = os.path.join(call.options.text("bundle"), call.options.text("file") or "config.json")
    config = _config()
    if call.options.flag("rootless"):
        _loosen(config)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Failed(f"file {path} exists. Remove it first") from None
    with open(fd, "w", encoding="utf-8") as file:
        file.write(jsontext.dumps(config, "\t"))
    return 0


def _config() -> "dict[str, Any]":
    kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [_PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted", "ambient")
            }
            | {"inheritable": list(_CAPABILITIES)},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "orchrun",
        "mounts": _mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": list(spec.MASKED),
            "readonlyPaths": list(spec.READONLY),
        },
    }


def _mounts() -> "list[dict[str, Any]]":
    quiet = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", "proc", []),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", "size=65536k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", quiet),
        _mount("/sys", "sysfs", "sysfs", [*quiet, "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*quiet, "relatime", "ro"]),
    ]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> "dict[str, Any]":
    return {
        "destination": destination,
        "type": kind,
        "source": source,
        **({"options": list(options)} if options else {}),
    }


def _loosen(config: "dict[str, Any]") -> None:
    """A user namespace of the caller's own, the host's network, and no limits, as runc's --rootless."""
    linux = config["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"] + [
        {"type": "user"}
    ]
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    linux.pop("resources")
    mounts = [one for one in config["mounts"] if one["destination"] not in {"/sys", "/sys/fs/cgroup"}]
    for mount in mounts:
        mount["options"] = [word for word in mount.get("options", []) if not word.startswith("gid=")]
    mounts.append(_mount("/sys", "none", "/sys", ["rbind", "nosuid", "noexec", "nodev", "ro"]))
    config["mounts"] = mounts
