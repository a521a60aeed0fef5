"""How the shim brings a process into being: clone, journal, go, and the end of its handshake."""

import _socket
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import (
    cgroup,
    enter,
    handshake,
    hooks,
    init,
    packets,
    tinyinit,
    userns,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn, Self

    Plan = dict[str, Any]
    Packet = dict[str, Any]


_SIGKILL = 9


class Birth:
    """A process between clone and exec."""

    __slots__ = ("created", "failure", "hooks_are_due", "pid", "pidfd", "ready", "sock", "terminal")

    def __init__(self, pid: int, pidfd: int, sock: "_socket.socket") -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.sock = sock
        self.ready = False
        self.created = False
        """It waits at its gate; whoever opens that hears the rest."""
        self.hooks_are_due = False
        """It waits for prestart and createRuntime hooks, and then for `hooked`."""
        self.failure: list[str] = []
        self.terminal = -1
        """The master of its terminal, ours to close; -1 without one."""

    def go(self, doors: list[int]) -> None:
        """Its pid is written down, its cgroups are there: through these doors (closed here) it goes in."""
        try:
            self._say(handshake.GO, doors)
        finally:
            for door in doors:
                os.close(door)

    def hooked(self) -> None:
        self.hooks_are_due = False
        self._say(handshake.HOOKED)

    def _say(self, word: bytes, fds: "Sequence[int]" = ()) -> None:
        try:
            self.sock.sendmsg([word], [packets.rights(tuple(fds))] if fds else [])
        except BrokenPipeError:
            return  # it has failed already, and what it said about that is waiting

    def hear(self) -> bool:
        """Take in what the child says; whether it has said everything (its end is closed)."""
        while True:
            try:
                heard = packets.receive(self.sock)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                continue  # it ended without reading our GO; what it said is still there
            if heard is None:
                return True
            packet, fds = heard
            if "step" in packet:
                self.failure = [packet["step"], packet["message"]]
            elif packet.get("terminal"):
                self.terminal = fds[0]
            elif packet.get("runtime"):
                self.hooks_are_due = True
                return False
            elif packet.get("created"):
                self.created = True
            elif packet.get("ready"):
                self.ready = True

    def outcome(self) -> list[str]:
        """Step and message of a failure; empty when the payload runs, or waits at its gate."""
        if self.failure or self.ready or self.created:
            return self.failure
        why = "the process was killed while it was set up; a memory or pids limit may be too low to start"
        return ["start", why]


class Midwife:
    """Clones; knows what every child needs to hold before it goes."""

    def __init__(self, cgroups: "cgroup.Cgroups", place: str) -> None:
        self.cgroups = cgroups
        self.place = place
        self.last_capability = init.last_capability()
        self.init_program = -1
        self.own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def launch(self, plan: "Plan") -> Birth:
        if plan["init"]:
            if self.init_program < 0:
                self.init_program = tinyinit.program()
            plan["init_program"] = self.init_program
        plan["held"] = userns.prepare(plan)
        try:
            with _Line() as line:
                pid, pidfd = self._bear(plan)
                if pid == 0:
                    syscalls.unblock_signals()
                    init.become(plan, line.theirs, self.place, self.last_capability)
                return line.to(pid, pidfd)
        finally:
            for fd in plan["held"]:
                os.close(fd)

    def enter(self, plan: "Plan", fds: list[int]) -> Birth:
        """A child of ours that is born inside the container's pid namespace.

        The plan: what plan_process makes, and `container` (its name), `pid`, `pidfd`, `namespaces` (flags of
        those to join) and `group` of the container; `stdio` "inherit" or "terminal", `console_socket` and
        `preserve_fds` as for a main process. `fds`: what becomes its 0, 1 and 2; none to inherit ours.
        """
        with _Line() as line:
            hint = f"{plan['container']} may have just ended"
            pid, pidfd = self._bear_inside(f"/proc/{plan['pid']}/ns/pid", 0, plan, hint)
            if pid == 0:
                syscalls.unblock_signals()
                enter.become(plan, line.theirs, self.cgroups, fds, self.last_capability)
            return line.to(pid, pidfd)

    def run_hooks(self, kinds: tuple[str, ...], hooked: "Plan", state: "Plan") -> Birth:
        """A child that runs them, so that we need not wait; ready when they have succeeded."""
        with _Line() as line:
            pid, pidfd = syscalls.clone(0)
            if pid == 0:
                syscalls.unblock_signals()
                _run_hooks(line.theirs, kinds, hooked, state)
            return line.to(pid, pidfd)

    def _bear(self, plan: "Plan") -> tuple[int, int]:
        flags = plan["clone"] & ~(c.CLONE_NEWCGROUP | c.CLONE_NEWTIME)  # those it makes itself, on its way
        flags = userns.birth_flags(plan, flags)
        for flag, path in plan["join"]:
            if flag == c.CLONE_NEWPID:
                hint = "a pid namespace must be there before the start"
                return self._bear_inside(path, flags, plan, hint)
        return self._clone(flags, plan)

    def _clone(self, flags: int, plan: "Plan") -> tuple[int, int]:
        """Into its cgroup of v2, where that can be: then it need not move there, which takes long."""
        plan["born"] = False
        if cradle := self.cgroups.cradle(plan["group"]) if plan["group"] else "":
            try:
                group = os.open(cradle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                return syscalls.clone(flags)  # who opens its doors says what is wrong
            plan["born"] = True
            try:
                return syscalls.clone(flags, group)
            except OSError:
                plan["born"] = False  # before Linux 5.7, or under a filter that knows no clone3
            finally:
                os.close(group)
        return syscalls.clone(flags)

    def _bear_inside(self, pid_namespace: str, flags: int, plan: "Plan", hint: str) -> tuple[int, int]:
        """A process cannot change its pid namespace: its parent goes there and comes back."""
        try:
            inside = os.open(pid_namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                syscalls.setns(inside, c.CLONE_NEWPID)
            finally:
                os.close(inside)
        except OSError as error:
            raise handshake.failed("pid", f"join {pid_namespace}", error, hint) from None
        pid = -1
        try:
            pid, pidfd = self._clone(flags, plan)
        finally:
            if pid:
                syscalls.setns(self.own_pid_namespace, c.CLONE_NEWPID)
        return pid, pidfd


def kinds(plan: "Plan") -> int:
    """The flags of all namespaces that are not its parent's: what a second process has to join."""
    flags: int = plan["clone"] | (c.CLONE_NEWUSER if plan["userns"] else 0)
    for flag, _ in plan["join"]:
        flags |= flag
    return flags


def attend(birth: Birth, plan: "Plan") -> list[str]:
    """Wait for a birth, and run the hooks that are due; step and message of a failure, or nothing.

    For a program with one container; the shim has a loop. After a failure the process has ended or is
    being killed, and remains to be reaped.
    """
    state = {**plan["state"], "status": "creating", "pid": birth.pid}
    birth.sock.setblocking(True)
    while not birth.hear():
        if not birth.hooks_are_due:
            continue
        try:
            for kind in ("prestart", "createRuntime"):
                hooks.run(kind, plan["hooks"], state)
        except handshake.StepFailed as failure:
            birth.failure = [failure.step, failure.message]
            syscalls.kill_process(birth.pidfd, _SIGKILL)
            break
        birth.hooked()
    birth.sock.close()
    return birth.outcome()


def _run_hooks(sock: "_socket.socket", kinds: tuple[str, ...], hooked: "Plan", state: "Plan") -> "NoReturn":
    try:
        init.keep_only([sock.fileno()])
        for kind in kinds:
            if kind.startswith("post"):
                for problem in hooks.run_all(kind, hooked, state):
                    os.write(2, f"orch-shim: {state['id']}: {problem}\n".encode())
            else:
                hooks.run(kind, hooked, state)
        packets.send(sock, handshake.READY)
    except handshake.StepFailed as failure:
        init.report(sock, failure.step, failure.message)
    except BaseException as error:
        init.report(sock, "hook", f"{type(error).__name__}: {error}")
    os._exit(0)


class _Line:
    """The socket pair that a child speaks on. Whatever goes wrong, no end of it stays open here."""

    def __enter__(self) -> "Self":
        self.ours, self.theirs = _socket.socketpair(
            _socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
        )
        self.ours.setblocking(False)
        return self

    def to(self, pid: int, pidfd: int) -> Birth:
        return Birth(pid, pidfd, self.ours)

    def __exit__(self, failure: "type[BaseException] | None", *_: object) -> None:
        self.theirs.close()
        if failure:
            self.ours.close()
