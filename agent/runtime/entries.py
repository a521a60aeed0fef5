"""What the journal holds of one container: made from its plan, completed when an older shim wrote it.

The entry is all that a shim knows of a container whose start it has not seen.
"""

import os

from agent.runtime import births, journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Entry = dict[str, Any]
    Packet = dict[str, Any]

_PROCESS = (
    *("env", "cwd", "uid", "gid", "groups", "umask", "capabilities", "rlimits", "seccomp"),
    *("no_new_privileges", "oom_score_adj", "scheduler", "io_priority", "cpu_affinity"),
    *("apparmor", "selinux", "console_size", "personality"),
)
"""What of a plan a second process needs."""
_OUR_HOOKS = ("prestart", "createRuntime", "poststart", "poststop")
"""The others run in the child."""
_LATER: "Entry" = {"terminal": False, "hooks": {}, "told_to_hooks": {}}
_LATER_OF_PROCESS: "Entry" = {
    "scheduler": [],
    "io_priority": None,
    "cpu_affinity": {},
    "console_size": [0, 0],
    "apparmor": "",
    "selinux": "",
    "personality": None,
}
"""What entries hold since the first version, with what is meant where it is missing."""


def made(plan: "Packet", boot_id: str) -> "Entry":
    return {
        "container": plan["container"],
        "sandbox": plan["sandbox"],
        "group": plan["group"],
        "state": journal.STARTING,
        "pid": 0,
        "start_time": 0,
        "started_at": 0.0,
        "status": None,
        "oom_killed": False,
        "at": 0.0,
        "acknowledged": False,
        "boot_id": boot_id,
        "namespaces": births.kinds(plan),
        "process": {key: plan[key] for key in _PROCESS},
        "terminal": plan["stdio"] == "terminal",
        "hooks": {kind: one for kind, one in plan["hooks"].items() if kind in _OUR_HOOKS},
        "told_to_hooks": plan["state"] if plan["hooks"] else {},
        "log": {
            "directory": plan["logs"],
            "max_bytes": plan["log_max_bytes"],
            "files": plan["log_max_files"],
        },
    }


def completed(entry: "Entry") -> "Entry":
    """An entry that an older shim has written lacks what that did not know."""
    for key, value in _LATER.items():
        entry.setdefault(key, value)
    for key, value in _LATER_OF_PROCESS.items():
        entry["process"].setdefault(key, value)
    return entry


_TOLD = (
    *("container", "sandbox", "state", "pid", "start_time", "started_at"),
    *("status", "oom_killed", "at", "acknowledged"),
)


def told(entry: "Entry") -> "Entry":
    """What an agent is told of it: thousands must fit a packet, and most of an entry is for us alone."""
    return {key: entry[key] for key in _TOLD}


def open_same(pid: int, start_time: int) -> int:
    """A pidfd of the very process that the journal means; -1 when it is gone."""
    if not pid:  # killed between clone and the journal
        return -1
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    if journal.start_time(pid) == start_time:
        return pidfd
    os.close(pidfd)
    return -1
