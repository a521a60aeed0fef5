"""How a container is shut in: what `security:`, `ulimits:` and `shmSize:` say → words of the runtime (pure)."""

from typing import Any

from agent.reconciler.accounts import Account
from agent.runtime import capabilities
from orch.model.container import ContainerSpec
from orch.model.security import SecuritySpec
from orch.model.ulimit import parse_ulimit

DEFAULT_SHM_BYTES = 64 << 20
_NOT_USUAL = {"CAP_MKNOD", "CAP_NET_RAW"}
"""Docker gives these two as well: one forges packets of neighbours, the other makes devices."""
USUAL = tuple(name for name in capabilities.DEFAULT if name not in _NOT_USUAL)
EVERY_CAPABILITY = (1 << len(capabilities.NAMES)) - 1
_ALL = tuple(f"CAP_{name}" for name in capabilities.NAMES)


class NotHeld(ValueError):
    """A capability is asked for by name that the agent does not have itself."""


def of(spec: ContainerSpec, account: Account, ours: int = EVERY_CAPABILITY) -> dict[str, Any]:
    """Keywords for `agent.runtime.spec.config`. `ours`: the agent's own capabilities, as bits. Raises NotHeld."""
    security = spec.security
    free = security.privileged
    held = capabilities_of(security, ours)
    asked_for = _names(security.cap_add)
    return {
        "readonly": security.read_only,
        "added_capabilities": [name for name in held if name not in capabilities.DEFAULT],
        "dropped_capabilities": [name for name in capabilities.DEFAULT if name not in held],
        "ambient_capabilities": [name for name in held if name in asked_for] if account.uid else [],
        "no_new_privileges": security.no_new_privileges and not free,
        "unmasked": free or security.proc_mount == "unmasked",
        "writable_sys": free,
        "sysctl": dict(security.sysctls),
        "every_device": free,
        "seccomp": b"" if free or security.seccomp == "unconfined" else None,
        "terminal": spec.tty,
        "shm_bytes": spec.shm_size or DEFAULT_SHM_BYTES,
        "rlimits": [_rlimit(name, text) for name, text in spec.ulimits.items()],
    }


def has_own_users(spec: ContainerSpec) -> bool:
    """Whether its users are no users of the node: in a user namespace."""
    return spec.security.user_namespace and not spec.security.privileged


def capabilities_of(security: SecuritySpec, ours: int = EVERY_CAPABILITY) -> tuple[str, ...]:
    """With their prefix, in the kernel's order. What is added wins over what is dropped.

    ALL and privileged are all that the agent has; one that is named must be among them. Raises NotHeld.
    """
    every = [name for name in _ALL if ours & capabilities.mask([name])]
    for word in security.cap_add:
        if word != "ALL" and f"CAP_{word}" not in every:
            raise NotHeld(
                f"capability {word}: the node's agent does not have it itself: run the agent with it, "
                "choose another node, or take it out of security.capAdd"
            )
    if security.privileged:
        return tuple(every)
    added, dropped = _names(security.cap_add), _names(security.cap_drop)
    return tuple(name for name in every if name in added or (name in USUAL and name not in dropped))


def _names(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_ALL if "ALL" in words else (f"CAP_{word}" for word in words))


def _rlimit(name: str, text: str) -> dict[str, Any]:
    soft, hard = parse_ulimit(text)
    return {"type": f"RLIMIT_{name.upper()}", "soft": soft, "hard": hard}
