"""What the shim keeps of its containers: which there are, what became of them, and what is held for them."""

import os
import time

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import (
    births,
    cgroup,
    exits,
    hookruns,
    journal,
    kept,
    loglink,
    orphans,
)
from agent.runtime.eventloop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Entry = dict[str, Any]
    Packet = dict[str, Any]
    Reply = Callable[..., None]

_REAPED_WITHIN_SECONDS = 5.0
_SIGKILL = 9


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
        self.hooks = hookruns.HookRuns(self.midwife, loop)
        self.orphans = orphans.Orphans(loop, self._children)
        self.containers: dict[str, kept.Container] = {}
        self.visitors: set[int] = set()
        """Pids of second processes: children of ours that others reap."""
        os.makedirs(f"{run_dir}/root", 0o700, exist_ok=True)
        os.makedirs(f"{self.state_dir}/roots", 0o700, exist_ok=True)

    def reach_logger(self) -> None:
        self.log.connect()
        self.attach_all()

    def births(self) -> "set[str]":
        return {name for name, one in self.containers.items() if one.entry["state"] == journal.STARTING}

    def has_births(self) -> bool:
        return any(one.entry["state"] == journal.STARTING for one in self.containers.values())

    def is_busy(self) -> bool:
        """With a start or hooks under way, whose outcome only we can hear."""
        return self.has_births() or any(one.hooks for one in self.containers.values())

    def add(self, container: kept.Container) -> None:
        self.containers[container.entry["container"]] = container
        if container.entry["hooks"] or not container.entry["namespaces"] & c.CLONE_NEWPID:
            self.orphans.expect()

    def running(self, name: str) -> "kept.Container | None":
        container = self.containers.get(name)
        return container if container and container.entry["state"] == journal.RUNNING else None

    def hold(self, name: str) -> list[int]:
        """Our ends of its output: what it wrote stays there until the logger has read it, however late."""
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        return [os.open(f"{self.journal.path(name)}/{stream}", flags) for stream in ("stdout", "stderr")]

    # -- an end -------------------------------------------------------------------------------------

    def watch_end(self, container: kept.Container) -> None:
        self.loop.watch(container.pidfd, lambda _: self._end(container))

    def _end(self, container: kept.Container) -> None:
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

    def _ended(self, container: kept.Container, status: int | None, at: float) -> None:
        entry = container.entry
        if entry["state"] == journal.EXITED:
            return
        self.loop.forget(container.pidfd)
        os.close(container.pidfd)
        container.pidfd = -1
        oom = status != 0 and self.cgroups.oom_kills(entry["group"]) > 0
        entry |= {"state": journal.EXITED, "status": status, "oom_killed": oom, "at": at}
        self._note(entry)
        self.on_exit(entry)

    def _children(self) -> set[int]:
        ours = {one.entry["pid"] for one in self.containers.values()}
        return ours | {one.hooks.pid for one in self.containers.values() if one.hooks} | self.visitors

    def _note(self, entry: "Entry") -> None:
        """What cannot be written down now is known all the same, and the logger knows the end."""
        try:
            self.journal.write(entry)
        except OSError as error:
            os.write(2, f"orch-shim: {entry['container']}: its entry cannot be written: {error}\n".encode())

    def acknowledge(self, name: str) -> None:
        container = self.containers.get(name)
        if container and not container.entry["acknowledged"]:
            container.entry["acknowledged"] = True
            self._note(container.entry)

    def signal(self, name: str, signum: int, reply: "Reply") -> None:
        container = self.running(name)
        if not container:
            reply({"missing": name})
            return
        syscalls.kill_process(container.pidfd, signum)
        reply({})

    def kill(self, name: str) -> None:
        if container := self.containers.get(name):
            self.kill_all(container)

    def kill_all(self, container: kept.Container) -> None:
        """PID 1 first: its death ends the whole pid namespace. Then whoever is left in the group."""
        if container.pidfd >= 0:
            syscalls.kill_process(container.pidfd, _SIGKILL)
        if os.path.exists(self.journal.path(container.entry["container"])):
            try:
                self.cgroups.kill(container.entry["group"])
            except FileNotFoundError:
                return

    def terminal(self, name: str, reply: "Reply") -> None:
        """The master of its terminal, for who reads nothing from it: the logger does that."""
        container = self.running(name)
        if not container:
            reply({"missing": name})
        elif container.terminal < 0:
            reply({"error": ["terminal", f"{name} has none; start it with one"]})
        else:
            reply({}, (container.terminal,))

    def forget(self, container: kept.Container) -> None:
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

    def mark_ended(self, entry: "Entry", known: "list[Any] | None") -> None:
        status, at = known or (None, time.time())
        oom = status not in {0, None} and self.cgroups.oom_kills(entry["group"]) > 0
        entry |= {"state": journal.EXITED, "status": status, "oom_killed": oom, "at": at}
        self._note(entry)

    def attach_all(self) -> None:
        for container in self.containers.values():
            self.attach(container)

    def attach(self, container: kept.Container) -> None:
        path = self.journal.path(container.entry["container"])
        self.log.attach(container.entry, path, container.pidfd, container.terminal, container.fifos)
