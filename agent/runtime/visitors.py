"""Second processes in running containers, and the conversations that wait for their ends."""

import _socket
import os

from agent.linux import syscalls
from agent.runtime import births, exits, handshake
from agent.runtime.eventloop import Loop
from agent.runtime.keeper import Keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Packet = dict[str, Any]
    Reply = Callable[..., None]
    Tell = Callable[[_socket.socket, Packet], None]

_SIGKILL = 9


class Entered:
    """A second process in a container, and the conversation that waits for its end."""

    __slots__ = ("birth", "sock")

    def __init__(self, birth: births.Birth, sock: "_socket.socket") -> None:
        self.birth = birth
        self.sock = sock


class Visitors:
    def __init__(self, keeper: Keeper, loop: Loop, tell: "Tell") -> None:
        self.keeper = keeper
        self.loop = loop
        self.tell = tell
        self.entered: dict[int, Entered] = {}

    def signal(self, pid: int, signum: int) -> None:
        if process := self.entered.get(pid):
            syscalls.kill_process(process.birth.pidfd, signum)

    def abandon(self, sock: "_socket.socket") -> None:
        """Whoever waited for them is gone, so they end too."""
        for process in self.entered.values():
            if process.sock is sock:
                syscalls.kill_process(process.birth.pidfd, _SIGKILL)

    # -- a second process ---------------------------------------------------------------------------

    def enter(self, sock: "_socket.socket", packet: "Packet", fds: list[int], reply: "Reply") -> None:
        container = self.keeper.running(packet["container"])
        if not container:
            _close(fds)
            reply({"missing": packet["container"]})
            return
        entry = container.entry
        plan = {**entry["process"], **packet["process"], "container": entry["container"]}
        plan |= {"group": entry["group"], "pid": entry["pid"], "pidfd": container.pidfd}
        plan["namespaces"] = entry["namespaces"]
        is_terminal = packet["process"]["terminal"]
        plan |= {"stdio": "terminal" if is_terminal else "given", "console_socket": -1, "preserve_fds": 0}
        try:
            birth = self.keeper.midwife.enter(plan, [] if is_terminal else fds)
        except handshake.StepFailed as failure:
            reply({"error": [failure.step, failure.message]})
            return
        except OSError as error:
            reply({"error": ["enter", f"{entry['container']}: {error.strerror}; it may have just ended"]})
            return
        finally:
            _close(fds)
        process = Entered(birth, sock)
        self.entered[birth.pid] = process
        self.keeper.visitors.add(birth.pid)
        self.loop.watch(birth.sock.fileno(), lambda _: self._hear_entered(process, reply))

    def _hear_entered(self, process: Entered, reply: "Reply") -> None:
        birth = process.birth
        if not birth.hear():
            return
        self.loop.forget(birth.sock.fileno())
        birth.sock.close()
        passed = (birth.terminal,) if birth.terminal >= 0 else ()
        if failure := birth.outcome():
            exits.when_dead(self.loop, birth.pidfd, lambda: self._left(process, None))
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
        self.keeper.visitors.discard(birth.pid)
        if status is not None:
            self.tell(process.sock, {"event": "left", "pid": birth.pid, "status": status})


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
