"""How the shim brings a process into being: clone, journal, go, and the end of its handshake."""

import _socket
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import cgroup, enter, handshake, init, packets, tinyinit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]
    Packet = dict[str, Any]


class Birth:
    """A process between clone and exec."""

    __slots__ = ("failure", "pid", "pidfd", "ready", "sock", "terminal")

    def __init__(self, pid: int, pidfd: int, sock: "_socket.socket") -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.sock = sock
        self.ready = False
        self.failure: list[str] = []
        self.terminal = -1

    def go(self) -> None:
        try:
            self.sock.send(handshake.GO)
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
            elif packet.get("ready"):
                self.ready = True

    def outcome(self) -> list[str]:
        """Step and message of a failure; empty when the payload runs."""
        if self.failure or self.ready:
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
        ours, theirs = _pair()
        flags = plan["clone"] & ~c.CLONE_NEWCGROUP
        pid, pidfd = syscalls.clone(flags)
        if pid == 0:
            init.become(plan, theirs, self.cgroups, self.place, self.last_capability)
        theirs.close()
        return Birth(pid, pidfd, ours)

    def enter(self, plan: "Plan", fds: list[int]) -> Birth:
        """A child of ours that is born inside the container's pid namespace."""
        ours, theirs = _pair()
        inside = os.open(f"/proc/{plan['pid']}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(inside, c.CLONE_NEWPID)
            try:
                pid, pidfd = syscalls.clone(0)
                if pid == 0:
                    enter.become(plan, theirs, self.cgroups, fds, self.last_capability)
            finally:
                syscalls.setns(self.own_pid_namespace, c.CLONE_NEWPID)
        finally:
            os.close(inside)
        theirs.close()
        return Birth(pid, pidfd, ours)


def _pair() -> "tuple[_socket.socket, _socket.socket]":
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    ours.setblocking(False)
    return ours, theirs
