"""What a process may do: user, capabilities, limits, no new privileges. In the child, before exec."""

import os
import resource

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]

_CAPABILITIES = 64
_FILES = (resource.RLIMIT_NOFILE, 1024, 524_288)
"""As systemd gives a service that says nothing; the shim's own limit is none of a payload's business."""


def limit(plan: "Plan") -> None:
    """Resource limits, while we may still raise them."""
    if _FILES[0] not in [kind for kind, _, _ in plan["rlimits"]]:
        kind, soft, most = _FILES
        resource.setrlimit(kind, (soft, min(most, resource.getrlimit(kind)[1])))
    for kind, soft, hard in plan["rlimits"]:
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError) as error:
            raise handshake.StepFailed("limits", f"rlimit {kind} to {soft}:{hard}: {error}") from None
    if plan["oom_score_adj"] is not None:
        with open("/proc/self/oom_score_adj", "w", encoding="utf-8") as score:
            score.write(str(plan["oom_score_adj"]))


def drop(plan: "Plan", last_capability: int) -> None:
    """From root to what the plan allows; nothing after this can take it back."""
    sets = plan["capabilities"]
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
        raise handshake.failed("privileges", what, error) from None
    if plan["no_new_privileges"]:
        syscalls.prctl(c.PR_SET_NO_NEW_PRIVS, 1)
    try:
        syscalls.capset(sets["effective"], sets["permitted"], sets["inheritable"])
        for bit in range(_CAPABILITIES):
            if sets["ambient"] >> bit & 1:
                syscalls.prctl(c.PR_CAP_AMBIENT, c.PR_CAP_AMBIENT_RAISE, bit)
    except OSError as error:
        raise handshake.failed("privileges", "set capabilities", error) from None
    os.umask(plan["umask"])
