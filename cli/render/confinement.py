"""How a container is shut in, in one line: what it has, and each thing that was loosened or tightened."""

from typing import Any

from cli.render import words

USUAL = "user namespace, seccomp default, usual capabilities"


def line(spec: Any) -> str:
    """A ContainerSpec → `user namespace, seccomp default, capabilities +NET_RAW`."""
    found = _security(spec.security) if spec.HasField("security") else [USUAL]
    if spec.tty:
        found.append("a terminal")
    if spec.stdin:
        found.append("an open standard input")
    if spec.init:
        found.append("a tiny init")
    found += [f"{name} {limit}" for name, limit in sorted(spec.ulimits.items())]
    found += [f"{words.size(spec.shm_size)} of /dev/shm"] if spec.shm_size else []
    return ", ".join(found)


def _security(security: Any) -> list[str]:
    if security.privileged:
        found = ["privileged: all that root of the node may"]
        return found + (["read-only root"] if security.read_only else [])
    found = ["user namespace" if security.user_namespace else "no user namespace"]
    found.append("seccomp default" if security.seccomp == "default" else "no seccomp filter")
    changes = [f"-{name}" for name in security.cap_drop] + [f"+{name}" for name in security.cap_add]
    found.append(f"capabilities {' '.join(changes)}" if changes else "usual capabilities")
    found += [] if security.no_new_privileges else ["new privileges by setuid"]
    found += ["unmasked /proc and /sys"] if security.proc_mount == "unmasked" else []
    found += ["read-only root"] if security.read_only else []
    return found + [f"{name}={value}" for name, value in sorted(security.sysctls.items())]
