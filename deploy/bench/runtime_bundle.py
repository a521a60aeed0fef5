"""What is started: busybox as a layer of ours and as the root of a bundle, with one and the same configuration."""

import json
import shutil
from pathlib import Path
from typing import Any

from agent.runtime import capabilities, spec
from agent.runtime.seccomp import default

_PLACES = ("bin", "dev", "etc", "proc", "sys", "tmp")
_LIMITS: dict[str, Any] = {"memory_bytes": 64 << 20, "cpu_cores": 1.0, "pids": 64}
_FIRST_ID = 1 << 20


def make_layer(directory: Path) -> Path:
    """A root file system of the few commands that a payload needs."""
    for place in _PLACES:
        (directory / place).mkdir(parents=True)
    shutil.copy("/bin/busybox", directory / "bin" / "busybox")
    for name in ("true", "echo", "sleep"):
        (directory / "bin" / name).hardlink_to(directory / "bin" / "busybox")
    return directory


def config(args: list[str], *, network: str = "", first_id: int = 0) -> dict[str, Any]:
    """As the agent makes it for a service, with limits."""
    env = {"PATH": "/bin"}
    return spec.config(args, env=env, hostname="bench", network=network, first_id=first_id, **_LIMITS)


def make_bundle(directory: Path, root: Path, cgroup: str) -> Path:
    """The same for the others: all namespaces new, ids mapped, the same filter in the specification's words."""
    made = config(["echo"])
    made["root"] = {"path": str(root), "readonly": False}
    linux = made["linux"]
    ids = [{"containerID": 0, "hostID": _FIRST_ID, "size": spec.IDS}]
    linux["namespaces"].append({"type": "user"})
    linux |= {"uidMappings": ids, "gidMappings": ids, "cgroupsPath": cgroup, "seccomp": _filter()}
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(made))
    return directory


def _filter() -> dict[str, Any]:
    """The default profile as a list of allowed calls; its few conditions on arguments are left out."""
    kept = [names for name, names in default.WITH_CAPABILITY.items() if name in capabilities.DEFAULT]
    names = sorted({name for group in (*default.ALLOWED.values(), *kept) for name in group.split()})
    names += ["clone", "personality", "socket"]
    allowed = [{"names": names, "action": "SCMP_ACT_ALLOW"}]
    return {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": allowed}
