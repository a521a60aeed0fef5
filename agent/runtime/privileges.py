"""What a process may do: user, capabilities, limits, no new privileges. In the child, before exec."""

import errno
import os
import resource

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]

_FILES = (resource.RLIMIT_NOFILE, 1024, 524_288)
"""As systemd gives a service that says nothing; the shim's own limit is none of a payload's business."""


def limit(plan: "Plan") -> None:
    """Resource limits, while we may still raise them; through the host's /proc, so before the root."""
    if _FILES[0] not in [kind for kind, _, _ in plan["rlimits"]]:
        kind, soft, most = _FILES
        resource.setrlimit(kind, (soft, min(most, resource.getrlimit(kind)[1])))
    for kind, soft, hard in plan["rlimits"]:
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError) as error:
            raise handshake.StepFailed("limits", f"rlimit {kind} to {soft}:{hard}: {error}") from None
    if plan["oom_score_adj"] is not None:
        _score(plan["oom_score_adj"])


def _score(adjustment: int) -> None:
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(adjustment).encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise handshake.failed("limits", f"set oom_score_adj to {adjustment}", error) from None


def schedule(plan: "Plan") -> None:
    """After the last fork: a process of SCHED_DEADLINE may make no other."""
    try:
        if plan["io_priority"] is not None:
            syscalls.ioprio_set(plan["io_priority"])
    except OSError as error:
        raise handshake.failed("scheduler", "set the I/O priority", error) from None
    try:
        if plan["scheduler"]:
            syscalls.sched_setattr(plan["scheduler"])
    except OSError as error:
        hint = "real-time policies need a priority, SCHED_DEADLINE a runtime, deadline and period"
        raise handshake.failed("scheduler", "set the scheduler", error, hint) from None


def persona(plan: "Plan") -> None:
    wanted = plan.get("personality")
    if wanted is None:
        return
    try:
        syscalls.personality(wanted)
    except OSError as error:
        raise handshake.failed("personality", f"become {wanted:#x}", error) from None


def drop(plan: "Plan", last_capability: int) -> None:
    """From root to what the plan allows; nothing after this can take it back.

    What this kernel does not know, or what we do not have ourselves, cannot be granted and is left out, as
    the OCI specification says.
    """
    sets = plan["capabilities"]
    known = (1 << last_capability + 1) - 1
    try:
        for bit in range(last_capability + 1):
            if not sets["bounding"] >> bit & 1:
                syscalls.prctl(c.PR_CAPBSET_DROP, bit)
        syscalls.prctl(c.PR_SET_KEEPCAPS, 1)
        os.setgroups(plan["groups"])
        os.setresgid(plan["gid"], plan["gid"], plan["gid"])
        os.setresuid(plan["uid"], plan["uid"], plan["uid"])
        syscalls.prctl(c.PR_SET_KEEPCAPS, 0)
    except OSError as error:
        what = f"become user {plan['uid']} and group {plan['gid']}"
        raise handshake.failed("privileges", what, error, _id_hint(error)) from None
    syscalls.prctl(c.PR_SET_DUMPABLE, 0)  # a change of user may have set it: nobody inside looks into us
    if plan["no_new_privileges"]:
        syscalls.prctl(c.PR_SET_NO_NEW_PRIVS, 1)
    permitted = sets["permitted"] & known
    inheritable = sets["inheritable"] & known
    try:
        syscalls.capset(sets["effective"] & permitted, permitted, inheritable)
        for bit in range(last_capability + 1):
            if sets["ambient"] & permitted & inheritable & 1 << bit:
                syscalls.prctl(c.PR_CAP_AMBIENT, c.PR_CAP_AMBIENT_RAISE, bit)
    except OSError as error:
        raise handshake.failed("privileges", "set capabilities", error) from None
    os.umask(plan["umask"])


def _id_hint(error: OSError) -> str:
    if error.errno == errno.EINVAL:
        return "an id is not in the container's user namespace; look at its mappings"
    return ""
