"""The seccomp profile of an OCI configuration → the filter of a plan.

Also for programs that start an interpreter for each call: what compiles is imported when a profile is new.
"""

import marshal
import os

from agent.linux import constants as c
from agent.runtime import refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Filter = dict[str, Any]

_WHERE = "linux.seccomp."
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": c.SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": c.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": c.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": c.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}
_NOTIFY = "SCMP_ACT_NOTIFY"
_NEVER_NOTIFIED = {"sendmsg", "read", "write"}
"""What the process itself uses to hand its listener over, before anybody listens."""
_MOST_KEPT = 64
_VERSION = b"1"
"""Goes up with every change of what the compiler makes: filters kept on disk are made again."""

_kept: dict[bytes, bytes] = {}


def plan(config: "Mapping[str, Any] | None", cache: str = "") -> "Filter":
    """What the process loads before its payload, {} for nothing; LaunchFailed names the key that is wrong.

    `cache` is a directory, made if need be, where filters are kept for the next process.
    """
    if not config:
        return {}
    if made := config.get("orchCompiled"):
        return {"program": made, "flags": 0, "listener": "", "metadata": ""}
    flags = 0
    for name in config.get("flags") or []:
        if name not in _FLAGS:
            raise refusals.refused(f"{_WHERE}flags", f"holds {name!r}; known are {' '.join(_FLAGS)}")
        flags |= _FLAGS[name]
    listener, metadata = config.get("listenerPath") or "", config.get("listenerMetadata") or ""
    if _notifies(config):
        if not listener.startswith("/"):
            why = "is needed as an absolute path: a rule says SCMP_ACT_NOTIFY, and somebody must hear it"
            raise refusals.refused(f"{_WHERE}listenerPath", why)
        flags |= c.SECCOMP_FILTER_FLAG_NEW_LISTENER
        if flags & c.SECCOMP_FILTER_FLAG_TSYNC:
            flags |= c.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
    elif metadata and not listener:
        raise refusals.refused(f"{_WHERE}listenerMetadata", "is for a listener, and listenerPath names none")
    else:
        listener = ""
        flags &= ~c.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV  # is about a listener, and refused without one
    return {"program": _program(config, cache), "flags": flags, "listener": listener, "metadata": metadata}


def _notifies(config: "Mapping[str, Any]") -> bool:
    if config.get("defaultAction") == _NOTIFY:
        raise refusals.refused(f"{_WHERE}defaultAction", "cannot be SCMP_ACT_NOTIFY; name the system calls")
    rules = [entry for entry in config.get("syscalls") or [] if entry.get("action") == _NOTIFY]
    for entry in rules:
        for name in entry.get("names") or []:
            if name in _NEVER_NOTIFIED:
                why = f"cannot notify of {name}: the runtime needs it to hand the listener over"
                raise refusals.refused(f"{_WHERE}syscalls", why)
    return bool(rules)


def _program(config: "Mapping[str, Any]", cache: str) -> bytes:
    """Compiled, unless the very same profile was compiled before."""
    words = ("defaultAction", "defaultErrnoRet", "architectures", "syscalls")
    key = marshal.dumps([config.get(word) for word in words], 2)  # no references: equal values, equal bytes
    if key in _kept:
        return _kept[key]
    made = _from_disk(key, cache) if cache else _compile(config)
    if not made:
        made = _compile(config)
        _to_disk(key, cache, made)
    if len(_kept) >= _MOST_KEPT:
        _kept.pop(next(iter(_kept)))
    _kept[key] = made
    return made


def _compile(config: "Mapping[str, Any]") -> bytes:
    from agent.runtime.seccomp import compiler, machines, profile

    return compiler.program(profile.parse(config, machines.native()))


def _place(key: bytes, cache: str) -> str:
    import _sha256  # type: ignore[import-not-found]

    return f"{cache}/{_sha256.sha256(_VERSION + key).hexdigest()}"


def _from_disk(key: bytes, cache: str) -> bytes:
    try:
        with open(_place(key, cache), "rb", buffering=0) as file:
            found: bytes = file.read()
    except OSError:
        return b""
    return found if found and not len(found) % 8 else b""


def _to_disk(key: bytes, cache: str, program: bytes) -> None:
    """Whole or not at all; a directory that cannot be written costs time and nothing else."""
    place = _place(key, cache)
    try:
        os.makedirs(cache, 0o700, exist_ok=True)
        fd = os.open(f"{place}.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, program)
        finally:
            os.close(fd)
        os.rename(f"{place}.{os.getpid()}", place)
    except OSError:
        return
