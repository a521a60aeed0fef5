"""The process of an OCI configuration → what it runs, as whom, and with which powers (pure).

The same for the main process of a container and for those that enter it later.
"""

from agent.runtime import capabilities, refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Plan = dict[str, Any]

_KINDS = "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
_RLIMITS = {kind: number for number, kind in enumerate(_KINDS.split())}
_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
_UNLIMITED = (1 << 64) - 1
_MOST_ID = (1 << 32) - 2
_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_IO_CLASS_SHIFT = 13
_PERSONALITIES = {"": None, "LINUX": 0x0, "LINUX32": 0x8}
_OOM = range(-1000, 1001)


def plan(process: "Mapping[str, Any]") -> "Plan":
    if not process.get("args"):
        raise refusals.refused("process.args", "is empty: neither image nor service says what to run")
    cwd = process.get("cwd") or "/"
    if not cwd.startswith("/"):
        raise refusals.refused("process.cwd", f"{cwd} is not absolute")
    score = process.get("oomScoreAdj")
    if score is not None and score not in _OOM:
        raise refusals.refused("process.oomScoreAdj", f"{score} is not between -1000 and 1000")
    return {
        "args": [_text("process.args", one) for one in process["args"]],
        "env": environment(process.get("env") or []),
        "cwd": cwd,
        **_user(process.get("user") or {}),
        "capabilities": capability_sets(process.get("capabilities") or {}),
        "rlimits": [_rlimit(entry) for entry in _unique(process.get("rlimits") or [])],
        "no_new_privileges": bool(process.get("noNewPrivileges")),
        "oom_score_adj": score,
        "scheduler": _scheduler(process.get("scheduler")),
        "io_priority": _io_priority(process.get("ioPriority")),
        "cpu_affinity": _affinity(process.get("execCPUAffinity") or {}),
        "apparmor": process.get("apparmorProfile") or "",
        "selinux": process.get("selinuxLabel") or "",
        "console_size": _size(process.get("consoleSize") or {}),
    }


def personality(wanted: "Mapping[str, Any]") -> int | None:
    """What `uname -m` says and 32-bit programs expect; None leaves it as it is. There are no flags yet."""
    domain = wanted.get("domain") or ""
    if domain not in _PERSONALITIES:
        raise refusals.refused("linux.personality.domain", f"{domain} is neither LINUX nor LINUX32")
    if wanted.get("flags"):
        raise refusals.refused("linux.personality.flags", f"{wanted['flags'][0]}: no flag is known")
    return _PERSONALITIES[domain]


def environment(entries: "list[str]") -> dict[str, str]:
    """The last word on a name wins, as in a shell."""
    pairs = (_text("process.env", entry).partition("=") for entry in entries)
    return {name: value for name, _, value in pairs if name}


def capability_sets(sets: "Mapping[str, Any]") -> dict[str, int]:
    return {
        name: capabilities.mask(one for one in sets.get(name) or [] if one in capabilities.BITS)
        for name in _SETS
    }


def warnings(process: "Mapping[str, Any]") -> "list[str]":
    """Capabilities that nobody could grant: the specification wants them said, and the start to go on."""
    sets = process.get("capabilities") or {}
    names = dict.fromkeys(one for name in _SETS for one in sets.get(name) or [])
    return [
        f"process.capabilities {one} is not a capability; it is left out"
        for one in names
        if one not in capabilities.BITS
    ]


def _text(key: str, text: str) -> str:
    if "\0" in text:
        raise refusals.refused(key, f"{text!r} holds a zero byte")
    return text


def _user(user: "Mapping[str, Any]") -> "Plan":
    ids = [user.get("uid") or 0, user.get("gid") or 0, *(user.get("additionalGids") or [])]
    for number in ids:
        if not 0 <= number <= _MOST_ID:
            raise refusals.refused("process.user", f"{number} is not an id")
    umask = user.get("umask")
    return {
        "uid": ids[0],
        "gid": ids[1],
        "groups": ids[2:],
        "umask": 0o022 if umask is None else umask & 0o777,
    }


def _unique(limits: "list[Mapping[str, Any]]") -> "list[Mapping[str, Any]]":
    kinds = [limit.get("type") for limit in limits]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise refusals.refused("process.rlimits", f"{kind} is there twice")
    return limits


def _rlimit(entry: "Mapping[str, Any]") -> list[int]:
    kind = str(entry.get("type", "")).removeprefix("RLIMIT_")
    if kind not in _RLIMITS:
        raise refusals.refused("process.rlimits", f"{entry.get('type')} is not a limit")
    soft, hard = (_amount(entry[name]) for name in ("soft", "hard"))
    if hard != -1 and not 0 <= soft <= hard:
        raise refusals.refused("process.rlimits", f"RLIMIT_{kind}: soft {entry['soft']} is above hard {hard}")
    return [_RLIMITS[kind], soft, hard]


def _amount(value: int) -> int:
    return -1 if value >= _UNLIMITED else value


def _scheduler(entry: "Mapping[str, Any] | None") -> list[int]:
    """The values of struct sched_attr in its order; nothing leaves the scheduler alone."""
    if not entry:
        return []
    policy = entry.get("policy")
    if policy not in _POLICIES:
        raise refusals.refused(
            "process.scheduler.policy", f"{policy} is not known; one of {', '.join(_POLICIES)}"
        )
    flags = 0
    for name in entry.get("flags") or []:
        if name not in _SCHED_FLAGS:
            raise refusals.refused("process.scheduler.flags", f"{name} is not known")
        flags |= _SCHED_FLAGS[name]
    numbers = (entry.get(name) or 0 for name in ("nice", "priority", "runtime", "deadline", "period"))
    return [_POLICIES[policy], flags, *numbers]


def _io_priority(entry: "Mapping[str, Any] | None") -> int | None:
    if not entry:
        return None
    kind, level = entry.get("class") or "IOPRIO_CLASS_BE", entry.get("priority") or 0
    if kind not in _IO_CLASSES:
        raise refusals.refused(
            "process.ioPriority.class", f"{kind} is not known; one of {', '.join(_IO_CLASSES)}"
        )
    if level not in range(8):
        raise refusals.refused("process.ioPriority.priority", f"{level} is not between 0 and 7")
    return _IO_CLASSES[kind] << _IO_CLASS_SHIFT | level


def _affinity(entry: "Mapping[str, Any]") -> "dict[str, list[int]]":
    """CPUs of a second process before (initial) and after (final) it is in the container's cgroup."""
    return {name: cpus(entry[name]) for name in ("initial", "final") if entry.get(name)}


def cpus(text: str) -> list[int]:
    """A list as of cpusets: "0-3,8"."""
    chosen: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise refusals.refused("process.execCPUAffinity", f"{text} is not a list of CPUs as 0-3,8")
        chosen += range(int(first), int(last or first) + 1)
    return chosen


def _size(entry: "Mapping[str, Any]") -> list[int]:
    """Rows and columns."""
    return [entry.get("height") or 0, entry.get("width") or 0]
