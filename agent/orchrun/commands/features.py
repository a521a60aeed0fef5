"""`features`: what this runtime knows, in the specification's own form."""

import os

from agent.linux import constants
from agent.orchrun import jsontext
from agent.orchrun.call import Call
from agent.runtime import capabilities, mounts, plan_hooks, plan_namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPTIONS: dict[str, str] = {}
ARGUMENTS = ""

_ACTIONS = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP"]
_OPERATORS = ["EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE"]
_ARCHITECTURES = ["AARCH64", "X32", "X86", "X86_64"]


def run(call: Call) -> int:
    call.expect(0, 0)
    os.write(1, f"{jsontext.dumps(features(), '    ')}\n".encode())
    return 0


def features() -> "dict[str, Any]":
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": list(plan_hooks.KINDS),
        "mountOptions": mounts.words(),
        "linux": {
            "namespaces": sorted(plan_namespaces.KINDS),
            "capabilities": [f"CAP_{name}" for name in capabilities.NAMES],
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": False, "rdma": False},
            "seccomp": {
                "enabled": True,
                "actions": [f"SCMP_ACT_{name}" for name in _ACTIONS],
                "operators": [f"SCMP_CMP_{name}" for name in _OPERATORS],
                "archs": [f"SCMP_ARCH_{name}" for name in _ARCHITECTURES],
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": hasattr(constants, "MOUNT_ATTR_IDMAP")}},
        },
        "annotations": {"org.opencontainers.runc.checkpoint.enabled": "false"},
    }
