"""Rules for how a container is shut in: names that the kernel knows, and settings that are its own."""

import re

from orch.manifest.check_container import Found
from orch.manifest.problem import Path, did_you_mean
from orch.model.container import ContainerSpec
from orch.model.ulimit import NAMES as ULIMITS
from orch.model.ulimit import parse_ulimit

CAPABILITIES = frozenset(
    (
        *(
            "AUDIT_CONTROL",
            "AUDIT_READ",
            "AUDIT_WRITE",
            "BLOCK_SUSPEND",
            "BPF",
            "CHECKPOINT_RESTORE",
            "CHOWN",
        ),
        *("DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE"),
        *("LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE"),
        *("NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG"),
        *("SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE"),
        *("SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM"),
    )
)
_OWN_SYSCTL = re.compile(
    r"net[./][\w./-]+|kernel[./](shm[\w.]+|msg[\w.]+|sem|auto_msgmni)|fs[./]mqueue[./]\w+"
)
_NOT_OF_A_CONTAINER = "settings of the whole node are set on the node"


def of_security(container: ContainerSpec, at: Path) -> Found:
    """Of one container, at its path."""
    here = (*at, "security")
    security = container.security
    for key, names in (("capAdd", security.cap_add), ("capDrop", security.cap_drop)):
        for index, name in enumerate(names):
            if name not in CAPABILITIES | {"ALL"}:
                near = did_you_mean(name, CAPABILITIES) or "see: man 7 capabilities, and leave out CAP_"
                yield (*here, key, index), f'"{name}" is not a capability', near
    for name in security.sysctls:
        if not _OWN_SYSCTL.fullmatch(name) or ".." in name:
            what = f'"{name}" is not a setting that a container can have of its own'
            yield (*here, "sysctls", name), what, _NOT_OF_A_CONTAINER
    if security.privileged and security.cap_drop:
        yield (*here, "capDrop"), "a privileged container has all capabilities", "remove one of the two"
    yield from _ulimits(container, at)


def _ulimits(container: ContainerSpec, at: Path) -> Found:
    for name, text in container.ulimits.items():
        here = (*at, "ulimits", name)
        if name not in ULIMITS:
            near = did_you_mean(name, ULIMITS) or f"known: {', '.join(ULIMITS)}"
            yield here, f'"{name}" is not a limit of a process', near
            continue
        try:
            parse_ulimit(text)
        except ValueError as error:
            yield here, str(error), 'write 1024, "1024:4096" or unlimited'
