"""`exec`: another program in a running container, with the container's privileges unless told otherwise."""

import os

from agent.orchrun import console, failure, foreground, inherited, jsontext, making, state
from agent.orchrun.call import Call
from agent.orchrun.errors import Failed, Misused
from agent.runtime import births, plan_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    from agent.orchrun.store import Record

    Plan = dict[str, Any]

OPTIONS = {
    "process,p": "text",
    "cwd": "text",
    "env,e": "list",
    "tty,t": "maybe",
    "user,u": "text",
    "additional-gids,g": "list",
    "cap,c": "list",
    "no-new-privs": "flag",
    "apparmor": "text",
    "process-label": "text",
    "detach,d": "flag",
    "pid-file": "text",
    "console-socket": "text",
    "preserve-fds": "text",
    "cgroup": "list",
    "ignore-paused": "flag",
}
ARGUMENTS = "<container-id> [--] <command> [args...]"
MIXED = False

_SETS = ("bounding", "effective", "permitted", "ambient")


def run(call: Call) -> int:
    options = call.options
    call.expect(1 if options.text("process") else 2, None)
    record = call.record(call.arguments[0])
    now = call.status(record)
    if now == state.STOPPED:
        raise Failed("cannot exec in a stopped container")
    if now == state.PAUSED and not options.flag("ignore-paused"):
        raise Failed("cannot exec in a paused container (use --ignore-paused to override)")
    kept = call.store.process(record["id"])
    process = _process(call, kept["process"], call.arguments[1:])
    made = _plan(call, record, kept, process)
    sock = _console(call, made)
    inherited.let_go()
    made["pidfd"] = os.pidfd_open(record["pid"])
    if not state.is_alive(record):
        raise Failed("cannot exec in a stopped container")
    birth = births.Midwife(call.cgroups, "").enter(made, [])
    watch = None if options.flag("detach") else foreground.Foreground(birth.pid, birth.pidfd)
    if sock:
        sock.close()
    birth.sock.setblocking(True)
    while not birth.hear():
        continue
    if failed := birth.outcome():
        os.waitpid(birth.pid, 0)  # an unreaped one of its processes would keep the container from ending
        raise failure.of(*failed)
    if where := options.text("pid-file"):
        making.write_pid_file(where, birth.pid)
    return watch.wait(birth.terminal) if watch else 0


def _process(call: Call, base: "Plan", command: list[str]) -> "Plan":
    """The specification's process: from a file, or the container's own with the options' changes."""
    options = call.options
    if path := options.text("process"):
        loaded = jsontext.load(path)
        if not isinstance(loaded, dict):
            raise Failed(f"--process {path}: holds no object")
        process: Plan = loaded
        if command:
            process["args"] = command
    else:
        process = {**base, "args": command, "terminal": options.flag("tty")}
        process.pop("consoleSize", None)
    if cwd := options.text("cwd"):
        process["cwd"] = cwd
    if entries := options.every("env"):
        process["env"] = [*(process.get("env") or []), *entries]
    if options.flag("tty"):
        process["terminal"] = True
    if options.flag("no-new-privs"):
        process["noNewPrivileges"] = True
    if profile := options.text("apparmor"):
        process["apparmorProfile"] = profile
    if label := options.text("process-label"):
        process["selinuxLabel"] = label
    process["user"] = _user(call, process.get("user") or {})
    if names := options.every("cap"):
        sets = process.get("capabilities") or {}
        process["capabilities"] = {**sets, **{kind: [*(sets.get(kind) or []), *names] for kind in _SETS}}
    return process


def _user(call: Call, user: "Plan") -> "Plan":
    if text := call.options.text("user"):
        uid, _, gid = text.partition(":")
        try:
            user = {**user, "uid": int(uid), "gid": int(gid) if gid else user.get("gid", 0)}
        except ValueError:
            raise Misused(f"--user {text}: write uid[:gid], in numbers") from None
    if extra := call.options.every("additional-gids"):
        try:
            user = {**user, "additionalGids": [*(user.get("additionalGids") or []), *map(int, extra)]}
        except ValueError:
            raise Misused(f"--additional-gids {' '.join(extra)}: write numbers") from None
    return user


def _plan(call: Call, record: "Record", kept: "Plan", process: "Plan") -> "Plan":
    count, listening = making.preserved(call.options.number("preserve-fds"))
    if listening:
        process["env"] = [*(process.get("env") or []), *listening]
    for warning in plan_process.warnings(process):
        call.log.warning(warning)
    made = plan_process.plan(process)
    making.keep_file_limit(made)
    if not kept["userns"]:
        making.limit_capabilities(made)
    return {
        **made,
        "container": record["id"],
        "group": _group(call, record["group"]),
        "pid": record["pid"],
        "namespaces": kept["namespaces"],
        "userns": kept["userns"],
        "seccomp": kept["seccomp"],
        "keyring": kept["keyring"],
        "personality": kept["personality"],
        "stdio": "terminal" if process.get("terminal") else "inherit",
        "console_socket": -1,
        "preserve_fds": count,
    }


def _group(call: Call, group: str) -> str:
    """A group below the container's own, which it has made itself."""
    below = [word.rpartition(":")[2] for word in call.options.every("cgroup")]
    if not below:
        return group
    part = below[-1].strip("/")
    if ".." in part.split("/"):
        raise Failed(f"--cgroup {below[-1]}: leads out of the container's cgroup")
    return f"{group}/{part}" if part else group


def _console(call: Call, made: "Plan") -> "_socket.socket | None":
    path = call.options.text("console-socket")
    if made["stdio"] != "terminal":
        return None
    if path:
        sock = console.connect(path)
        made["console_socket"] = sock.fileno()
        return sock
    if call.options.flag("detach"):
        raise Misused("cannot allocate tty if orchrun will detach without setting console socket")
    if size := console.size():
        made["console_size"] = list(size.values())
    return None
