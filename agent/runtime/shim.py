"""orch-shim: the parent of every container. It forks, reaps and keeps the journal; nothing else.

One thread, one epoll loop, a few megabytes, no asyncio and no gRPC. It outlives the agent, and can be
killed itself: containers go on, and the next shim takes them over from the journal.
"""

import _signal
import _socket
import fcntl
import gc
import os
import resource
import sys
import time

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import births, cgroup, exits, handshake, journal, loglink, packets
from agent.runtime.eventloop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Entry = dict[str, Any]
    Packet = dict[str, Any]
    Reply = Callable[..., None]

HELPERS_GROUP = "_helpers"
"""No task can have this name."""
_RETRY_SECONDS = 0.002
_REMOVAL_SECONDS = 10.0
_REAPED_WITHIN_SECONDS = 5.0
_SIGKILL = 9


class Container:
    """What the shim holds of one container: its entry in the journal, and descriptors."""

    __slots__ = ("birth", "entry", "fifos", "pidfd", "reply")

    def __init__(self, entry: "Entry") -> None:
        self.entry = entry
        self.pidfd = -1
        self.fifos: list[int] = []
        self.birth: births.Birth | None = None
        self.reply: Reply | None = None


class Entered:
    """A second process in a container, and the conversation that waits for its end."""

    __slots__ = ("birth", "sock")

    def __init__(self, birth: births.Birth, sock: "_socket.socket") -> None:
        self.birth = birth
        self.sock = sock


class Shim:
    def __init__(self, run_dir: str, state_dir: str, cgroup_root: str, listener: int) -> None:
        self.run_dir = run_dir
        self.state_dir = state_dir
        self.cgroup_root = cgroup_root
        self.loop = Loop()
        self.cgroups = cgroup.detect()
        self.journal = journal.Journal(f"{run_dir}/containers")
        self.boot_id = journal.boot_id()
        os.makedirs(f"{run_dir}/root", 0o700, exist_ok=True)
        os.makedirs(f"{state_dir}/roots", 0o700, exist_ok=True)
        self.midwife = births.Midwife(self.cgroups, f"{run_dir}/root")
        self.containers: dict[str, Container] = {}
        self.conversations: dict[int, _socket.socket] = {}
        self.entered: dict[int, Entered] = {}
        self.log = loglink.LogLink(f"{run_dir}/log.sock")
        self.listener = _socket.socket(fileno=listener)

    # -- life ---------------------------------------------------------------------------------------

    def run(self) -> None:
        group = f"{self.cgroup_root}/{HELPERS_GROUP}"
        self.cgroups.create_helper(group)
        self.cgroups.join(group)
        known = self.log.connect()
        for name in self.journal.names():
            try:
                self._adopt(name, known)
            except OSError as error:  # one bad entry must not keep us from all the others
                os.write(2, f"orch-shim: {name} is not taken over: {error}\n".encode())
                self.containers.pop(name, None)
        while any(container.entry["state"] == journal.STARTING for container in self.containers.values()):
            self.loop.turn()  # what a dead shim left half made goes before anybody asks for it again
        self._attach_all()
        self.loop.watch(self.listener.fileno(), self._welcome)
        gc.collect()
        gc.freeze()  # children touch fewer pages that they would have to copy
        self.loop.run()

    def _welcome(self, _: int) -> None:
        sock = packets.accept(self.listener)
        sock.setblocking(False)
        self.conversations[sock.fileno()] = sock
        self.loop.watch(sock.fileno(), lambda _: self._hear(sock))

    def _hear(self, sock: "_socket.socket") -> None:
        try:
            heard = packets.receive(sock)
        except BlockingIOError:
            return
        except OSError:
            heard = None
        if heard is None:
            self._part(sock)
            return
        packet, fds = heard
        number = packet["id"]

        def reply(values: "Packet", passed: tuple[int, ...] = ()) -> None:
            self._tell(sock, {"id": number, **values}, passed)

        try:
            self._do(sock, packet, fds, reply)
        except Exception as error:  # noqa: BLE001  one bad request must not end the parent of all containers
            reply({"error": ["shim", f"{packet.get('op')}: {type(error).__name__}: {error}"]})

    def _part(self, sock: "_socket.socket") -> None:
        """Whoever waited for an entered process is gone, so that process ends too."""
        fd = sock.fileno()
        self.loop.forget(fd)
        self.conversations.pop(fd, None)
        for process in self.entered.values():
            if process.sock is sock:
                _kill(process.birth.pidfd, _SIGKILL)
        sock.close()

    def _tell(self, sock: "_socket.socket", packet: "Packet", fds: tuple[int, ...] = ()) -> None:
        """An agent that does not read is dropped; it comes back and asks for what it missed."""
        if sock.fileno() < 0:
            return
        try:
            packets.send(sock, packet, fds)
        except OSError:
            self._part(sock)

    def _do(self, sock: "_socket.socket", packet: "Packet", fds: list[int], reply: "Reply") -> None:
        match packet["op"]:
            case "launch":
                self._launch(packet["plan"], reply)
            case "list":
                reply({"containers": [container.entry for container in self.containers.values()]})
            case "signal":
                self._signal(packet["container"], packet["signum"], reply)
            case "kill":
                if container := self.containers.get(packet["container"]):
                    self._kill_all(container)
                reply({})
            case "remove":
                self._remove(packet["container"], reply)
            case "remove_sandbox":
                self._remove_group(f"{self.cgroup_root}/{packet['sandbox']}", lambda problem: reply(problem))
            case "acknowledge":
                self._acknowledge(packet["container"])
                reply({})
            case "enter":
                self._enter(sock, packet, fds, reply)
            case "signal_entered":
                if process := self.entered.get(packet["process"]):
                    _kill(process.birth.pidfd, packet["signum"])
                reply({})
            case "log":
                self.log.connect()
                self._attach_all()
                reply({})
            case "upgrade":
                self._upgrade(reply)
            case "quit":
                reply({})
                self.loop.stopped = True  # the parent cgroup is removed by whoever asked
            case unknown:
                reply({"error": ["shim", f"{unknown} is not known; the shim is older than the agent"]})

    # -- a start ------------------------------------------------------------------------------------

    def _launch(self, plan: "Packet", reply: "Reply") -> None:
        name = plan["container"]
        if name in self.containers:
            reply({"error": ["journal", f"{name} exists already; a name is used once"]})
            return
        sandbox_group = f"{self.cgroup_root}/{plan['sandbox']}"
        path = self.journal.path(name)
        root = f"{self.state_dir}/roots/{name}"
        plan |= {
            "group": f"{sandbox_group}/{name}",
            "stdout": f"{path}/stdout",
            "stderr": f"{path}/stderr",
            "root": root,
        }
        container = Container(_entry(plan, self.boot_id))
        container.reply = reply
        self.containers[name] = container
        try:
            self._prepare(container, plan)
            birth = self.midwife.launch(plan)
        except OSError as error:
            failure = handshake.failed("prepare", error.filename or "clone", error)
            self._discard(container, [failure.step, failure.message])
            return
        container.birth = birth
        container.pidfd = birth.pidfd
        container.entry["pid"] = birth.pid
        container.entry["start_time"] = journal.start_time(birth.pid)
        self.journal.write(container.entry)
        birth.go()
        self.loop.watch(birth.sock.fileno(), lambda _: self._hear_birth(container))
        self.log.attach(container.entry, self.journal.path(name), container.pidfd)

    def _prepare(self, container: Container, plan: "Packet") -> None:
        """Everything that can be made before the process exists."""
        path = self.journal.path(plan["container"])
        os.mkdir(path, 0o711)
        self.journal.write(container.entry)
        for name in ("stdout", "stderr"):
            os.mkfifo(f"{path}/{name}", 0o600)
            if plan["uid"]:
                os.chown(f"{path}/{name}", plan["uid"], plan["gid"])  # so that it may open /dev/stdout again
        container.fifos = self._hold(plan["container"])
        os.mkdir(plan["root"], 0o700)
        os.mkdir(f"{plan['root']}/upper", 0o755)
        os.mkdir(f"{plan['root']}/work", 0o700)
        self.cgroups.create(plan["group"], plan["limits"])

    def _hold(self, name: str) -> list[int]:
        """Our ends of its output: what it wrote stays there until the logger has read it, however late."""
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        return [os.open(f"{self.journal.path(name)}/{stream}", flags) for stream in ("stdout", "stderr")]

    def _hear_birth(self, container: Container) -> None:
        birth = container.birth
        if birth is None or not birth.hear():
            return
        self.loop.forget(birth.sock.fileno())
        birth.sock.close()
        container.birth = None
        if failure := birth.outcome():
            self._when_dead(container.pidfd, lambda: self._discard(container, failure))
            return
        entry = container.entry
        entry["state"] = journal.RUNNING
        entry["started_at"] = time.time()
        self.journal.write(entry)
        reply, container.reply = container.reply, None
        if reply:
            reply({"entry": entry})
        self.loop.watch(container.pidfd, lambda _: self._end(container))

    def _when_dead(self, pidfd: int, then: "Callable[[], None]") -> None:
        def over(_: int) -> None:
            exits.of_child(pidfd)
            self.loop.forget(pidfd)
            then()

        _kill(pidfd, _SIGKILL)
        self.loop.watch(pidfd, over)

    def _discard(self, container: Container, failure: list[str]) -> None:
        """A start that failed leaves nothing; only then is it reported."""

        def done(problem: "Packet") -> None:
            self._forget(container)
            self.cgroups.remove(os.path.dirname(container.entry["group"]))
            if container.reply:
                container.reply({"error": failure, **problem})

        self._remove_group(container.entry["group"], done)

    # -- an end -------------------------------------------------------------------------------------

    def _end(self, container: Container) -> None:
        over, status = exits.of_child(container.pidfd)
        if over:
            self._ended(container, status, time.time())
            return
        entry = container.entry
        status = exits.of_stranger(container.pidfd, entry["pid"], entry["start_time"])
        if status is not None:
            self._ended(container, status, time.time())
            return
        # Dead, not ours, and nobody knows yet: the kernel tells once its new parent has reaped it.
        self.loop.change(container.pidfd, 0)
        self.loop.later(_REAPED_WITHIN_SECONDS, lambda: self._ended(container, None, time.time()))

    def _ended(self, container: Container, status: int | None, at: float) -> None:
        entry = container.entry
        if entry["state"] == journal.EXITED:
            return
        self.loop.forget(container.pidfd)
        os.close(container.pidfd)
        container.pidfd = -1
        oom = status != 0 and self.cgroups.oom_kills(entry["group"]) > 0
        entry |= {"state": journal.EXITED, "status": status, "oom_killed": oom, "at": at}
        self.journal.write(entry)
        for sock in list(self.conversations.values()):
            self._tell(sock, {"event": "exited", "entry": entry})

    def _acknowledge(self, name: str) -> None:
        container = self.containers.get(name)
        if container and not container.entry["acknowledged"]:
            container.entry["acknowledged"] = True
            self.journal.write(container.entry)

    def _signal(self, name: str, signum: int, reply: "Reply") -> None:
        container = self.containers.get(name)
        if not container or container.entry["state"] != journal.RUNNING:
            reply({"missing": name})
            return
        _kill(container.pidfd, signum)
        reply({})

    def _kill_all(self, container: Container) -> None:
        """PID 1 first: its death ends the whole pid namespace. Then whoever is left in the group."""
        if container.pidfd >= 0:
            _kill(container.pidfd, _SIGKILL)
        if os.path.exists(self.journal.path(container.entry["container"])):
            try:
                self.cgroups.kill(container.entry["group"])
            except FileNotFoundError:
                return

    # -- removal ------------------------------------------------------------------------------------

    def _remove(self, name: str, reply: "Reply") -> None:
        container = self.containers.get(name)
        if not container:
            reply({})
            return
        if container.entry["state"] == journal.STARTING:
            reply({"error": ["remove", f"{name} is being started; wait for that to end"]})
            return

        def done(problem: "Packet") -> None:
            if not problem:
                self._forget(container)
            reply(problem)

        self._kill_all(container)
        self._remove_group(container.entry["group"], done)

    def _remove_group(self, group: str, done: "Callable[[Packet], None]") -> None:
        """Kill what is in it, and remove it with what is below; the dying take a moment to leave."""
        deadline = time.monotonic() + _REMOVAL_SECONDS

        def attempt() -> None:
            children = [f"{group}/{child}" for child in self.cgroups.children(group)]
            if all([self.cgroups.remove(child) for child in children]) and self.cgroups.remove(group):
                done({})
                return
            if time.monotonic() > deadline:
                pids = [pid for one in (*children, group) for pid in self.cgroups.pids(one)]
                done({"error": ["cgroup", f"{group} is still in use after a kill, by processes {pids}"]})
                return
            for one in (*children, group):
                self.cgroups.kill(one)
            self.loop.later(_RETRY_SECONDS, attempt)

        attempt()

    def _forget(self, container: Container) -> None:
        name = container.entry["container"]
        self.containers.pop(name, None)
        if container.pidfd >= 0:
            self.loop.forget(container.pidfd)
            os.close(container.pidfd)
            container.pidfd = -1
        self.log.forget(name)
        for fd in container.fifos:
            os.close(fd)
        container.fifos = []
        self.journal.forget(name)

    # -- a second process ---------------------------------------------------------------------------

    def _enter(self, sock: "_socket.socket", packet: "Packet", fds: list[int], reply: "Reply") -> None:
        container = self.containers.get(packet["container"])
        if not container or container.entry["state"] != journal.RUNNING:
            _close(fds)
            reply({"missing": packet["container"]})
            return
        entry = container.entry
        plan = {**entry["process"], **packet["process"], "container": entry["container"]}
        plan |= {"group": entry["group"], "pid": entry["pid"], "pidfd": container.pidfd}
        plan["namespaces"] = entry["namespaces"]
        try:
            birth = self.midwife.enter(plan, fds)
        except OSError as error:
            reply({"error": ["enter", f"{entry['container']}: {error.strerror}; it may have just ended"]})
            return
        finally:
            _close(fds)
        process = Entered(birth, sock)
        self.entered[birth.pid] = process
        self.loop.watch(birth.sock.fileno(), lambda _: self._hear_entered(process, reply))

    def _hear_entered(self, process: Entered, reply: "Reply") -> None:
        birth = process.birth
        if not birth.hear():
            return
        self.loop.forget(birth.sock.fileno())
        birth.sock.close()
        passed = (birth.terminal,) if birth.terminal >= 0 else ()
        if failure := birth.outcome():
            self._when_dead(birth.pidfd, lambda: self._left(process, None))
            reply({"error": failure})
        else:
            reply({"pid": birth.pid}, passed)
            self.loop.watch(birth.pidfd, lambda _: self._end_entered(process))
        _close(list(passed))

    def _end_entered(self, process: Entered) -> None:
        over, status = exits.of_child(process.birth.pidfd)
        if over:
            self.loop.forget(process.birth.pidfd)
            self._left(process, status)

    def _left(self, process: Entered, status: int | None) -> None:
        birth = process.birth
        os.close(birth.pidfd)
        self.entered.pop(birth.pid, None)
        if status is not None:
            self._tell(process.sock, {"event": "left", "pid": birth.pid, "status": status})

    # -- coming back --------------------------------------------------------------------------------

    def _adopt(self, name: str, known: "Packet") -> None:
        """Take over what a shim before us left: running ones by pid and start time, never by pid alone."""
        entry = self.journal.read(name)
        if entry is None:
            self.journal.forget(name)
            return
        container = Container(entry)
        self.containers[name] = container
        if entry["boot_id"] != self.boot_id:
            self._mark_ended(entry, None)
            return
        if entry["state"] == journal.STARTING:
            # Nobody was told that it runs. Its process has seen the socket close, or ends now.
            container.pidfd = _open_same(entry["pid"], entry["start_time"])
            self._kill_all(container)
            self._discard(container, ["start", "the shim ended while it started"])
            return
        container.fifos = self._hold(name)
        if entry["state"] == journal.EXITED:
            return
        container.pidfd = _open_same(entry["pid"], entry["start_time"])
        if container.pidfd >= 0:
            self.loop.watch(container.pidfd, lambda _: self._end(container))
            return
        self._mark_ended(entry, known.get(name))

    def _mark_ended(self, entry: "Entry", known: "list[Any] | None") -> None:
        status, at = known or (None, time.time())
        oom = status not in {0, None} and self.cgroups.oom_kills(entry["group"]) > 0
        entry |= {"state": journal.EXITED, "status": status, "oom_killed": oom, "at": at}
        self.journal.write(entry)

    def _attach_all(self) -> None:
        for name, container in self.containers.items():
            self.log.attach(container.entry, self.journal.path(name), container.pidfd)

    def _upgrade(self, reply: "Reply") -> None:
        """Become the code that now lies on disk; children stay children, clients connect again."""
        if self.entered or any(container.birth for container in self.containers.values()):
            self.loop.later(_RETRY_SECONDS, lambda: self._upgrade(reply))
            return
        reply({})
        os.set_inheritable(self.listener.fileno(), True)
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  the same command line, by design


def main(arguments: list[str]) -> None:
    """RUN_DIR STATE_DIR CGROUP_ROOT LISTENER_FD"""
    run_dir, state_dir, cgroup_root, listener = arguments
    os.umask(0o022)
    lock = os.open(f"{run_dir}/shim.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # the one before us may still be dying
    syscalls.name_process("orch-shim")
    syscalls.prctl(c.PR_SET_DUMPABLE, 0)
    syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 1)
    _take_signals_as_they_come()
    _raise_descriptor_limit()
    os.set_inheritable(int(listener), False)
    Shim(run_dir, state_dir, cgroup_root, int(listener)).run()


def _entry(plan: "Packet", boot_id: str) -> "Entry":
    kept = ("env", "cwd", "uid", "gid", "groups", "umask", "capabilities", "rlimits")
    kept += ("no_new_privileges", "oom_score_adj", "seccomp")
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
        "namespaces": plan["clone"] | (c.CLONE_NEWNET if plan["network"] else 0),
        "process": {key: plan[key] for key in kept},
        "log": {
            "directory": plan["logs"],
            "max_bytes": plan["log_max_bytes"],
            "files": plan["log_max_files"],
        },
    }


def _open_same(pid: int, start_time: int) -> int:
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


def _kill(pidfd: int, signum: int) -> None:
    try:
        syscalls.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _take_signals_as_they_come() -> None:
    """Payloads inherit what is ignored or blocked, so nothing is."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    for number in range(1, _signal.NSIG):
        if _signal.getsignal(number) == _signal.SIG_IGN and number != _signal.SIGPIPE:
            _signal.signal(number, _signal.SIG_DFL)


def _raise_descriptor_limit() -> None:
    """Five descriptors a container; the children get the usual limit back from their plan."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
