"""orch-shim: the parent of every container. It forks, reaps and keeps the journal; nothing else.

One thread, one epoll loop, a few megabytes, no asyncio and no gRPC. It outlives the agent, and can be
killed itself: containers go on, and the next shim takes them over from the journal.
"""

import _socket
import fcntl
import gc
import os
import resource
import sys

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import cgroup, entries, init, keeper, packets, removals, starts, takeover, visitors
from agent.runtime.eventloop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Packet = dict[str, Any]
    Reply = Callable[..., None]

_RETRY_SECONDS = 0.002
_SIGNALS = 65
_SIGPIPE = 13


class Shim:
    """Hears what agents ask, and lets keeper and visitors do it."""

    def __init__(self, run_dir: str, state_dir: str, cgroup_root: str, listener: int) -> None:
        self.cgroup_root = cgroup_root
        self.loop = Loop()
        self.cgroups = cgroup.detect()
        self.keeper = keeper.Keeper(
            (run_dir, state_dir), cgroup_root, self.cgroups, self.loop, self._tell_exit
        )
        self.removals = removals.Removals(self.keeper)
        self.starts = starts.Starts(self.keeper, self.removals)
        self.visitors = visitors.Visitors(self.keeper, self.loop, self._tell)
        self.conversations: dict[int, _socket.socket] = {}
        self.begun_before: dict[int, set[str]] = {}
        """Starts that were under way when a conversation began: an agent before this one asked for them."""
        self.listener = _socket.socket(fileno=listener)

    def run(self) -> None:
        cgroup.join_helpers(self.cgroups, self.cgroup_root)
        self.cgroups.narrow(self.cgroup_root)
        takeover.take_over(self.keeper, self.starts)
        self.loop.watch(self.listener.fileno(), self._welcome)
        gc.collect()
        gc.freeze()  # children touch fewer pages that they would have to copy
        self.loop.run()

    def _welcome(self, _: int) -> None:
        sock = packets.accept(self.listener)
        sock.setblocking(False)
        self.conversations[sock.fileno()] = sock
        self.begun_before[sock.fileno()] = self.keeper.births()
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
        except Exception as error:
            reply({"error": ["shim", f"{packet.get('op')}: {type(error).__name__}: {error}"]})

    def _part(self, sock: "_socket.socket") -> None:

        fd = sock.fileno()
        self.loop.forget(fd)
        self.conversations.pop(fd, None)
        self.begun_before.pop(fd, None)
        self.visitors.abandon(sock)
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
                self.starts.launch(packet["plan"], reply)
            case "list":
                self._list(sock, packet, reply)
            case "signal":
                self.keeper.signal(packet["container"], packet["signum"], reply)
            case "kill":
                self.keeper.kill(packet["container"])
                reply({})
            case "remove":
                self.removals.remove(packet["container"], reply)
            case "remove_sandbox":
                self.removals.group(f"{self.cgroup_root}/{packet['sandbox']}", reply)
            case "acknowledge":
                self.keeper.acknowledge(packet["container"])
                reply({})
            case "terminal":
                self.keeper.terminal(packet["container"], reply)
            case "enter":
                self.visitors.enter(sock, packet, fds, reply)
            case "signal_entered":
                self.visitors.signal(packet["process"], packet["signum"])
                reply({})
            case "log":
                self.keeper.reach_logger()
                reply({})
            case "upgrade":
                # An older agent sends no program: then it stays the one that it is.
                self._upgrade(fds[0] if fds else os.open("/proc/self/exe", os.O_PATH | os.O_CLOEXEC), reply)
            case "quit":
                reply({})
                self.loop.stopped = True  # the parent cgroup is removed by whoever asked
            case unknown:
                reply({"error": ["shim", f"{unknown} is not known; the shim is older than the agent"]})

    def _list(self, sock: "_socket.socket", packet: "Packet", reply: "Reply") -> None:
        """All, or the one that is named; not before it is known what becomes of starts that others asked for."""
        if self.begun_before.get(sock.fileno(), set()) & self.keeper.births():
            self.loop.later(_RETRY_SECONDS, lambda: self._list(sock, packet, reply))
            return
        known = self.keeper.containers
        names = [packet["container"]] if "container" in packet else list(known)
        reply({"containers": [entries.told(known[name].entry) for name in names if name in known]})

    def _tell_exit(self, entry: "Packet") -> None:
        for sock in list(self.conversations.values()):
            self._tell(sock, {"event": "exited", "entry": entries.told(entry)})

    def _upgrade(self, program: int, reply: "Reply") -> None:
        """Become the code that now lies on disk; children stay children, clients connect again."""
        if self.visitors.entered or self.keeper.is_busy():
            self.loop.later(_RETRY_SECONDS, lambda: self._upgrade(program, reply))
            return
        reply({})
        os.set_inheritable(self.listener.fileno(), True)
        os.execve(program, sys.orig_argv, dict(os.environ))


def main(arguments: list[str]) -> None:
    """Arguments: run directory, state directory, cgroup root, descriptor to listen on."""
    run_dir, state_dir, cgroup_root, listener = arguments
    os.umask(0o022)
    init.keep_only([int(listener)])
    lock = os.open(f"{run_dir}/shim.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # the one before us may still be dying
    syscalls.name_process("orch-shim")
    syscalls.prctl(c.PR_SET_DUMPABLE, 0)
    syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 1)
    _take_signals_as_they_come()
    _raise_descriptor_limit()
    os.set_inheritable(int(listener), False)
    Shim(run_dir, state_dir, cgroup_root, int(listener)).run()


def _take_signals_as_they_come() -> None:
    """Payloads inherit what is ignored or blocked, so nothing is."""
    syscalls.unblock_signals()
    for number in range(1, _SIGNALS):
        if number != _SIGPIPE:  # ours stays ignored; a child resets it last
            syscalls.default_signal(number)


def _raise_descriptor_limit() -> None:
    """Five descriptors a container; the children get the usual limit back from their plan."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
