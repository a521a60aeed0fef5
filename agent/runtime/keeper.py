"""What the shim keeps of its containers: how they begin, end, are removed, and are found again."""

import os
import time

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import (
    births,
    cgroup,
    cgroup_files,
    entries,
    exits,
    handshake,
    hookruns,
    journal,
    loglink,
    userns,
)
from agent.runtime.eventloop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Entry = dict[str, Any]
    Packet = dict[str, Any]
    Reply = Callable[..., None]

_RETRY_SECONDS = 0.002
_REMOVAL_SECONDS = 10.0
_REAPED_WITHIN_SECONDS = 5.0
_SIGKILL = 9


class Container:
    """What the shim holds of one container: its entry in the journal, and descriptors."""

    __slots__ = ("birth", "entry", "fifos", "hooks", "memory_limit", "pidfd", "reply", "terminal")

    def __init__(self, entry: "Entry") -> None:
        self.entry = entry
        self.pidfd = -1
        self.fifos: list[int] = []
        self.terminal = -1
        """The master of its terminal; the logger has it too, so that one of us can give it to the other."""
        self.hooks: births.Birth | None = None
        self.memory_limit = 0
        self.birth: births.Birth | None = None
        self.reply: Reply | None = None


class Keeper:
    def __init__(
        self,
        directories: tuple[str, str],
        cgroup_root: str,
        cgroups: "cgroup.Cgroups",
        loop: Loop,
        on_exit: "Callable[[Entry], None]",
    ) -> None:
        run_dir, self.state_dir = directories
        self.cgroup_root = cgroup_root
        self.cgroups = cgroups
        self.loop = loop
        self.on_exit = on_exit
        self.journal = journal.Journal(f"{run_dir}/containers")
        self.boot_id = journal.boot_id()
        self.log = loglink.LogLink(f"{run_dir}/log.sock")
        self.midwife = births.Midwife(cgroups, f"{run_dir}/root")
        self.hooks = hookruns.HookRuns(self.midwife, loop, self._reap_orphans)
        self.containers: dict[str, Container] = {}
        self.visitors: set[int] = set()
        """Pids of second processes: children of ours that others reap."""
        os.makedirs(f"{run_dir}/root", 0o700, exist_ok=True)
        os.makedirs(f"{self.state_dir}/roots", 0o700, exist_ok=True)

    def take_over(self) -> None:
        """Whatever a shim before us left: running ones go on, what was half made goes."""
        known = self.log.connect()
        for name in self.journal.names():
            try:
                self._adopt(name, known)
            except OSError as error:  # one bad entry must not keep us from all the others
                os.write(2, f"orch-shim: {name} is not taken over: {error}\n".encode())
                self.containers.pop(name, None)
        while self.has_births():
            self.loop.turn()
        self._attach_all()

    def reach_logger(self) -> None:
        self.log.connect()
        self._attach_all()

    def births(self) -> "set[str]":
        return {name for name, one in self.containers.items() if one.entry["state"] == journal.STARTING}

    def has_births(self) -> bool:
        return any(one.entry["state"] == journal.STARTING for one in self.containers.values())

    def is_busy(self) -> bool:
        """With a start or hooks under way, whose outcome only we can hear."""
        return self.has_births() or any(one.hooks for one in self.containers.values())

    def running(self, name: str) -> "Container | None":
        container = self.containers.get(name)
        return container if container and container.entry["state"] == journal.RUNNING else None

    # -- a start ------------------------------------------------------------------------------------

    def launch(self, plan: "Packet", reply: "Reply") -> None:
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
        container = Container(entries.made(plan, self.boot_id))
        container.reply = reply
        container.memory_limit = plan["memory_limit"]
        self.containers[name] = container
        try:
            self._prepare(container, plan)
            birth = self.midwife.launch(plan)
        except handshake.StepFailed as failure:
            self._discard(container, [failure.step, failure.message])
            return
        except OSError as error:
            step = "cgroup" if isinstance(error, cgroup_files.Refused) else "prepare"
            failed = handshake.failed(step, str(error.filename or error.args[0]), error)
            self._discard(container, [failed.step, failed.message])
            return
        container.birth = birth
        container.pidfd = birth.pidfd
        container.entry["pid"] = birth.pid
        container.entry["start_time"] = journal.start_time(birth.pid)
        self.loop.watch(birth.sock.fileno(), lambda _: self._hear_birth(container))
        try:
            self.journal.write(container.entry)
        except OSError as error:  # nobody could find it again, so it may not run
            failed = handshake.failed("prepare", f"write down {self.journal.path(name)}", error)
            birth.failure = [failed.step, failed.message]
            syscalls.kill_process(birth.pidfd, _SIGKILL)
            return
        birth.go()

    def _prepare(self, container: Container, plan: "Packet") -> None:
        """Everything that can be made before the process exists."""
        path = self.journal.path(plan["container"])
        os.mkdir(path, 0o711)
        self.journal.write(container.entry)
        if plan["stdio"] == "fifos":
            self._make_fifos(path, plan)
            container.fifos = self._hold(plan["container"])
        os.mkdir(plan["root"], 0o700)
        os.mkdir(f"{plan['root']}/upper", 0o755)
        os.chown(f"{plan['root']}/upper", *userns.outside(plan, 0, 0))
        os.mkdir(f"{plan['root']}/work", 0o700)
        self.cgroups.create(plan["group"], plan["limits"])

    def _make_fifos(self, path: str, plan: "Packet") -> None:
        for name in ("stdout", "stderr"):
            os.mkfifo(f"{path}/{name}", 0o600)
            owner = userns.outside(plan, plan["uid"], plan["gid"])
            if owner != (0, 0):
                os.chown(f"{path}/{name}", *owner)  # so that it may open /dev/stdout again

    def _hold(self, name: str) -> list[int]:
        """Our ends of its output: what it wrote stays there until the logger has read it, however late."""
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        return [os.open(f"{self.journal.path(name)}/{stream}", flags) for stream in ("stdout", "stderr")]

    def _hear_birth(self, container: Container) -> None:
        birth = container.birth
        if birth is None:
            return
        is_over = birth.hear()
        if birth.hooks_are_due and not container.hooks:
            self.hooks.run(container, ("prestart", "createRuntime"), "creating", self._hooked)
        if not is_over:
            return
        self.loop.forget(birth.sock.fileno())
        birth.sock.close()
        container.birth = None
        container.terminal = birth.terminal
        if failure := birth.outcome():
            failure = self._explained(container, failure)
            exits.when_dead(self.loop, container.pidfd, lambda: self._discard(container, failure))
            return
        self._attach(container)  # not before: of a start that failed there is no end to tell
        entry = container.entry
        entry["state"] = journal.RUNNING
        entry["started_at"] = time.time()
        self.journal.write(entry)
        if "poststart" in entry["hooks"]:
            self.hooks.run(container, ("poststart",), "running", self._started)
        else:
            self._started(container, [])

    def _explained(self, container: Container, failure: list[str]) -> list[str]:
        """Who was killed could not say why; its cgroup may know."""
        if failure[0] != "start" or not self.cgroups.oom_kills(container.entry["group"]):
            return failure
        limit = f"memory limit {container.memory_limit / (1 << 20):g}Mi"
        why = "was used up while the container was set up; the runtime alone needs about 1Mi, raise it"
        return ["start", f"{limit} {why}"]

    def _started(self, container: Container, _: list[str]) -> None:
        reply, container.reply = container.reply, None
        if reply:
            reply({"entry": entries.told(container.entry)})
        self.loop.watch(container.pidfd, lambda _: self._end(container))

    # -- hooks --------------------------------------------------------------------------------------

    def _hooked(self, container: Container, failure: list[str]) -> None:
        birth = container.birth
        if birth is None:
            return  # it has been killed meanwhile
        if failure:
            birth.failure = failure
            syscalls.kill_process(birth.pidfd, _SIGKILL)
        else:
            birth.hooked()

    def _discard(self, container: Container, failure: list[str]) -> None:
        """A start that failed leaves nothing; only then is it reported."""

        def done(problem: "Packet") -> None:
            self._forget(container)
            self.cgroups.remove(os.path.dirname(container.entry["group"]))
            self._after_removal(container, {"error": failure, **problem}, container.reply)

        self.remove_group(container.entry["group"], done)

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
        self.on_exit(entry)

    def _reap_orphans(self) -> None:
        ours = {one.entry["pid"] for one in self.containers.values()}
        ours |= {one.hooks.pid for one in self.containers.values() if one.hooks} | self.visitors
        exits.reap_orphans(ours)

    def acknowledge(self, name: str) -> None:
        container = self.containers.get(name)
        if container and not container.entry["acknowledged"]:
            container.entry["acknowledged"] = True
            self.journal.write(container.entry)

    def signal(self, name: str, signum: int, reply: "Reply") -> None:
        container = self.running(name)
        if not container:
            reply({"missing": name})
            return
        syscalls.kill_process(container.pidfd, signum)
        reply({})

    def kill(self, name: str) -> None:
        if container := self.containers.get(name):
            self._kill_all(container)

    def _kill_all(self, container: Container) -> None:
        """PID 1 first: its death ends the whole pid namespace. Then whoever is left in the group."""
        if container.pidfd >= 0:
            syscalls.kill_process(container.pidfd, _SIGKILL)
        if os.path.exists(self.journal.path(container.entry["container"])):
            try:
                self.cgroups.kill(container.entry["group"])
            except FileNotFoundError:
                return

    # -- removal ------------------------------------------------------------------------------------

    def remove(self, name: str, reply: "Reply") -> None:
        container = self.containers.get(name)
        if not container:
            reply({})
            return
        if container.entry["state"] == journal.STARTING:
            reply({"error": ["remove", f"{name} is being started; wait for that to end"]})
            return

        def done(problem: "Packet") -> None:
            if problem:
                reply(problem)
                return
            self._forget(container)
            self._after_removal(container, {}, reply)

        if container.entry["state"] != journal.EXITED:
            self._kill_all(container)
        self.remove_group(container.entry["group"], done)

    def remove_group(self, group: str, done: "Callable[[Packet], None]") -> None:
        """Kill what is in it, and remove it with what is below; the dying take a moment to leave."""
        deadline = time.monotonic() + _REMOVAL_SECONDS

        def attempt() -> None:
            if cgroup.remove_tree(self.cgroups, group):
                done({})
                return
            groups = cgroup.tree(self.cgroups, group)
            if time.monotonic() > deadline:
                pids = [pid for one in groups for pid in self.cgroups.pids(one)]
                done({"error": ["cgroup", f"{group} is still in use after a kill, by processes {pids}"]})
                return
            for one in reversed(groups):
                self.cgroups.kill(one)
            self.loop.later(_RETRY_SECONDS, attempt)

        attempt()

    def _after_removal(self, container: Container, answer: "Packet", reply: "Reply | None") -> None:
        def told(*_: object) -> None:
            if reply:
                reply(answer)

        if not container.entry["namespaces"] & c.CLONE_NEWPID:
            self._reap_orphans()

        if "poststop" in container.entry["hooks"]:
            self.hooks.run(container, ("poststop",), "stopped", told)
        else:
            told()

    def terminal(self, name: str, reply: "Reply") -> None:
        """The master of its terminal, for who reads nothing from it: the logger does that."""
        container = self.running(name)
        if not container:
            reply({"missing": name})
        elif container.terminal < 0:
            reply({"error": ["terminal", f"{name} has none; start it with one"]})
        else:
            reply({}, (container.terminal,))

    def _forget(self, container: Container) -> None:
        name = container.entry["container"]
        self.containers.pop(name, None)
        if container.pidfd >= 0:
            exits.of_child(container.pidfd)  # nobody will ask any more: no zombie stays
            self.loop.forget(container.pidfd)
            os.close(container.pidfd)
            container.pidfd = -1
        self.log.forget(name)
        for fd in (*container.fifos, container.terminal):
            if fd >= 0:
                os.close(fd)
        container.fifos = []
        container.terminal = -1
        self.journal.forget(name)

    # -- coming back --------------------------------------------------------------------------------

    def _adopt(self, name: str, known: "Packet") -> None:
        """Take over what a shim before us left: running ones by pid and start time, never by pid alone."""
        entry = self.journal.read(name)
        if entry is None:
            self.journal.forget(name)
            return
        container = Container(entries.completed(entry))
        self.containers[name] = container
        if entry["boot_id"] != self.boot_id:
            self._mark_ended(entry, None)
            return
        if entry["state"] == journal.STARTING:
            # Nobody was told that it runs. Its process has seen the socket close, or ends now.
            container.pidfd = entries.open_same(entry["pid"], entry["start_time"])
            self._kill_all(container)
            self._discard(container, ["start", "the shim ended while it started"])
            return
        if entry["terminal"]:
            container.terminal = self.log.terminal(name)
        else:
            container.fifos = self._hold(name)
        if entry["state"] == journal.EXITED:
            return
        container.pidfd = entries.open_same(entry["pid"], entry["start_time"])
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
        for container in self.containers.values():
            self._attach(container)

    def _attach(self, container: Container) -> None:
        path = self.journal.path(container.entry["container"])
        self.log.attach(container.entry, path, container.pidfd, container.terminal, container.fifos)
