"""Making a container out of a bundle: claimed, planned, born, recorded; what fails on the way is taken back."""

import os
import resource
import time

from agent.orchrun import bundle, console, ending, failure, inherited, store
from agent.orchrun.errors import Failed, Misused
from agent.runtime import births, cgroup_place, gate, journal, plan, plan_seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from agent.orchrun.call import Call
    from agent.orchrun.store import Record

    Plan = dict[str, Any]

OPTIONS = {
    "bundle,b": "text",
    "config,f": "text",
    "pid-file": "text",
    "console-socket": "text",
    "preserve-fds": "text",
    "no-pivot": "flag",
    "no-new-keyring": "flag",
    "no-subreaper": "flag",
}
_FIRST_PASSED = 3
_OURS = {"cgroupsPath", "seccomp"}
"""What of `linux` is planned here: where the group lies, and a filter that is compiled once for all calls."""


class Made:
    """A container that is made: waiting at its gate, or running."""

    __slots__ = ("birth", "plan", "record", "where")

    def __init__(self, made: "Plan", record: "Record", birth: births.Birth, pid_file: str) -> None:
        self.plan = made
        self.record = record
        self.birth = birth
        self.where = pid_file

    def write_pid_file(self) -> None:
        if self.where:
            write_pid_file(self.where, self.birth.pid)


def make(
    call: "Call", container: str, *, waits: bool, on_birth: "Callable[[births.Birth], None] | None" = None
) -> Made:
    """With `waits` it stands at its gate afterwards; without, its program runs. `on_birth`: before that."""
    found = bundle.load(call.options.text("bundle"), call.options.text("config"))
    made = _plan(call, container, found)
    sock = _console(call, made, waits=waits)
    inherited.let_go()
    path = call.store.claim(container)
    record = _record(container, found, made)
    try:
        call.store.write(record)
        call.store.write_process(container, _kept(found.config, made))
        if made["group"]:
            call.cgroups.create(made["group"], made["limits"])
            call.cgroups.spread(made["group"])
        listener = gate.listen(f"{path}/{store.GATE}") if waits else None
        if listener:
            made["gate"] = listener.fileno()
        os.mkdir(f"{path}/root", 0o700)
        birth = births.Midwife(call.cgroups, f"{path}/root").launch(made)
    except BaseException:
        _take_back(call, record)
        raise
    for opened in (listener, sock):
        if opened:
            opened.close()
    try:
        record |= {"pid": birth.pid, "startTime": journal.start_time(birth.pid)}
        call.store.write(record)
        if record["unit"]:
            from agent.orchrun import scope

            scope.begin(call, record, made["limits"])
        if on_birth:
            on_birth(birth)
        birth.go(call.cgroups.doors(made["group"], born=made["born"]) if made["group"] else [])
        _attend(birth, made)
        record["creating"] = False
        call.store.write(record)
        result = Made(made, record, birth, call.options.text("pid-file"))
    except BaseException:
        _take_back(call, record)
        raise
    return result


def write_pid_file(path: str, pid: int) -> None:
    """Whole or not at all: callers read it as soon as it is there."""
    near = f"{path}.orchrun-{os.getpid()}"
    try:
        with open(near, "w", encoding="utf-8") as file:
            file.write(str(pid))
        os.rename(near, path)
    except OSError as error:
        raise Failed(f"--pid-file {path}: {(error.strerror or str(error)).lower()}") from None


def preserved(count: int) -> "tuple[int, list[str]]":
    """How many descriptors from 3 on go along, and what the environment says of those that systemd passed."""
    passed = os.environ.get("LISTEN_FDS", "")
    listening = int(passed) if passed.isdigit() and os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    total = listening + count
    for fd in range(_FIRST_PASSED, _FIRST_PASSED + total):
        try:
            os.fstat(fd)
        except OSError:
            raise Failed(f"--preserve-fds {count}: descriptor {fd} is not open") from None
    return total, [f"LISTEN_FDS={listening}", "LISTEN_PID=1"] if listening else []


def _plan(call: "Call", container: str, found: bundle.Bundle) -> "Plan":
    call.store.refuse_if_claimed(container)
    config = found.config
    linux = config.get("linux") or {}
    if call.options.flag("no-pivot"):
        raise Failed("--no-pivot is not supported: without pivot_root a container can get out of its root")
    count, listening = preserved(call.options.number("preserve-fds"))
    if listening:
        config["process"]["env"] = [*(config["process"].get("env") or []), *listening]
    made: Plan = plan.of_config(
        {**config, "linux": {key: value for key, value in linux.items() if key not in _OURS}},
        container=container,
        root=found.rootfs,
        bundle=found.path,
    )
    for warning in made["warnings"]:
        call.log.warning(warning)
    made["seccomp"] = plan_seccomp.plan(linux.get("seccomp"), f"{call.store.root}/{store.FILTERS}")
    keep_file_limit(made)
    if not made["userns"]:
        limit_capabilities(made)
    made |= {"preserve_fds": count, "group": "", "root": "", "slice": "", "unit": ""}
    made["keyring"] = "" if call.options.flag("no-new-keyring") else f"_ses.{container}"
    where = linux.get("cgroupsPath") or ""
    if call.manager == "systemd":
        from agent.orchrun import scope

        made["slice"], made["unit"] = scope.named(where, container)
    if call.manager != "disabled":
        made["group"] = _group(call, where, container)
    return made


def keep_file_limit(made: "Plan") -> None:
    """Where a configuration says nothing of open files, our caller's limit is meant, not the agent's default."""
    if resource.RLIMIT_NOFILE not in [kind for kind, _, _ in made["rlimits"]]:
        made["rlimits"].append([resource.RLIMIT_NOFILE, *resource.getrlimit(resource.RLIMIT_NOFILE)])


def limit_capabilities(made: "Plan") -> None:
    """To what we have ourselves: so much is `--privileged` on this machine."""
    with open("/proc/self/status", encoding="utf-8") as table:
        ours = next(int(line.split()[1], 16) for line in table if line.startswith("CapPrm:"))
    made["capabilities"] = {kind: mask & ours for kind, mask in made["capabilities"].items()}


def _group(call: "Call", path: str, container: str) -> str:
    group = cgroup_place.of(path, container, systemd=call.manager == "systemd")
    if pids := call.cgroups.tree_pids(group):
        raise Failed(
            f"linux.cgroupsPath {path!r}: container's cgroup is not empty, processes {pids} are in it"
        )
    return group


def _console(call: "Call", made: "Plan", *, waits: bool) -> "_socket.socket | None":
    """Where the master of its terminal goes."""
    path = call.options.text("console-socket")
    is_left_alone = waits or call.options.flag("detach")
    if made["stdio"] != "terminal":
        if path:
            raise Misused("cannot use console socket if process.terminal is false")
        return None
    if path:
        sock = console.connect(path)
        made["console_socket"] = sock.fileno()
        return sock
    if is_left_alone:
        raise Misused("cannot allocate tty if orchrun will detach without setting console socket")
    if size := console.size():
        made["console_size"] = made["console_size"] if any(made["console_size"]) else list(size.values())
    return None


def _attend(birth: births.Birth, made: "Plan") -> None:
    if failed := births.attend(birth, made):
        raise failure.of(*failed)


def _record(container: str, found: bundle.Bundle, made: "Plan") -> "Record":
    now = time.time_ns()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1_000_000_000))
    return {
        "ociVersion": found.config["ociVersion"],
        "id": container,
        "pid": 0,
        "startTime": 0,
        "creating": True,
        "bundle": found.path,
        "rootfs": found.rootfs,
        "created": f"{seconds}.{now % 1_000_000_000:09d}Z",
        "annotations": found.config.get("annotations") or {},
        "owner": "",
        "group": made["group"],
        "slice": made["slice"],
        "unit": made["unit"],
    }


def _kept(config: "Plan", made: "Plan") -> "Plan":
    """What `exec`, `start` and `delete` need later."""
    return {
        "process": config["process"],
        "seccomp": made["seccomp"],
        "keyring": made["keyring"],
        "personality": made["personality"],
        "hooks": made["hooks"],
        "namespaces": births.kinds(made),
        "userns": made.get("userns") or {},
    }


def _take_back(call: "Call", record: "Record") -> None:
    ending.destroy(call, record)
    if record["pid"]:
        try:
            os.waitpid(record["pid"], 0)
        except ChildProcessError:
            return
