"""What a container may do beyond, or less than, the usual; and the limits of its processes."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from orch.model.spec import Spec


def _plain(name: str) -> str:
    """CAP_NET_RAW and net_raw are NET_RAW."""
    return name.upper().removeprefix("CAP_")


Capability = Annotated[str, AfterValidator(_plain)]


class SecuritySpec(Spec):
    """How a container is shut in. Left out, it is as tight as most programs bear; each key loosens one thing."""

    cap_add: tuple[Capability, ...] = ()
    """Linux capabilities beside the usual ones: NET_RAW, SYS_PTRACE, …, or ALL. Held also by a user who is not root."""
    cap_drop: tuple[Capability, ...] = ()
    """Usual capabilities that it does without, or ALL. What capAdd names stays."""
    read_only: bool = False
    """Its root file system cannot be written; volumes and tmpfs can."""
    privileged: bool = False
    """Its root is root of the node: all capabilities and devices, no filter, nothing masked. For agents of the node."""
    user_namespace: bool = True
    """Users of the container are no users of the node; root inside is nobody outside."""
    seccomp: Literal["default", "unconfined"] = "default"
    """default: system calls that programs do not need are refused; unconfined: all are allowed."""
    no_new_privileges: bool = True
    """setuid programs and file capabilities give nothing."""
    proc_mount: Literal["default", "unmasked"] = "default"
    """default: what of /proc and /sys tells of the node is hidden or read-only; unmasked: as the kernel shows it."""
    sysctls: dict[str, str] = Field(default_factory=dict)
    """Kernel settings of its own namespaces: net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*."""
