"""Waiting for a process of ours in the foreground: signals go to it, its terminal comes to us, its code is ours."""

import _signal  # type: ignore[import-not-found]  # the module signal pulls in enum
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.orchrun import console

_BY_SIGNAL = 128
_KEPT = {9, 17, 19, 32, 33}
"""KILL and STOP cannot be caught, CHLD is our own, and two are glibc's."""
_SIGWINCH = 28
_LAST_SIGNAL = 64


def become_reaper() -> None:
    """What the container leaves behind outside its pid namespace comes to us."""
    syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 1)


class Foreground:
    """From before the program begins: a signal that comes early is not ours to die of."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self._ended = _End(pid)
        self._pidfd = pidfd
        self._relay: console.Relay | None = None
        for number in range(1, _LAST_SIGNAL + 1):
            if number not in _KEPT:
                _signal.signal(number, self._pass_on)

    def wait(self, master: int = -1) -> int:
        """Its exit code, or 128 and the signal that ended it."""
        if master >= 0:
            self._relay = console.Relay(master)
            with self._relay:
                self._relay.resize()
                self._relay.run(self._pidfd, lambda: self._ended.wait(os.WNOHANG))
        while not self._ended.wait(0):
            continue
        return self._ended.code

    def _pass_on(self, number: int, _: object) -> None:
        if number == _SIGWINCH and self._relay:
            self._relay.resize()
            return
        syscalls.kill_process(self._pidfd, number)


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
