"""Waiting for a process of ours in the foreground: signals go to it, its terminal comes to us, its code is ours."""

import _signal  # type: ignore[import-not-found]  # the module signal pulls in enum
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.orchrun import console

_BY_SIGNAL = 128
_KEPT = {9, 17, 19}  # KILL and STOP cannot be caught, CHLD is our own
_SIGWINCH = 28
_LAST_SIGNAL = 64


def become_reaper() -> None:
    """What the container leaves behind outside its pid namespace comes to us."""
    syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 1)


def wait(pid: int, pidfd: int, master: int = -1) -> int:
    """Its exit code, or 128 and the signal that ended it."""
    ended = _End(pid)
    relay = console.Relay(master) if master >= 0 else None
    _forward(pidfd, relay)
    if relay is None:
        while not ended.wait(0):
            continue
        return ended.code
    with relay:
        relay.resize()
        relay.run(pidfd, lambda: ended.wait(os.WNOHANG))
    while not ended.wait(0):
        continue
    return ended.code


class _End:
    """The end of one process among all that we reap."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code = -1

    def wait(self, options: int) -> bool:
        if self.code >= 0:
            return True
        try:
            pid, status = os.waitpid(-1 if not options else self.pid, options)
        except ChildProcessError:
            self.code = 255  # somebody else has reaped it; its code is lost
            return True
        if pid == self.pid:
            self.code = code(status)
        return self.code >= 0


def code(status: int) -> int:
    """As shells count."""
    return _BY_SIGNAL + (status & 0x7F) if status & 0x7F else status >> 8 & 0xFF


def _forward(pidfd: int, relay: "console.Relay | None") -> None:
    def pass_on(number: int, _: object) -> None:
        if number == _SIGWINCH and relay:
            relay.resize()
            return
        syscalls.kill_process(pidfd, number)

    for number in range(1, _LAST_SIGNAL + 1):
        if number not in _KEPT and number not in {32, 33}:  # those two are glibc's own
            _signal.signal(number, pass_on)
