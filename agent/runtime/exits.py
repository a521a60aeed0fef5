"""How a process ended, by whoever still knows: its parent, its zombie, or the kernel's pidfd."""

import os

from agent.linux import syscalls
from agent.runtime import journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.runtime.eventloop import Loop

_CLD_EXITED = 1
_SIGKILL = 9


def of_child(pidfd: int) -> "tuple[bool, int | None]":
    """(is it over, its wait status) of a child, which is reaped; (False, None) also when it is not ours."""
    try:
        info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return False, None
    if info is None:
        return False, None
    return True, info.si_status << 8 if info.si_code == _CLD_EXITED else info.si_status


def when_dead(loop: "Loop", pidfd: int, then: "Callable[[], None]") -> None:
    """Kill a child, reap it, and go on."""

    def over(_: int) -> None:
        of_child(pidfd)
        loop.forget(pidfd)
        then()

    syscalls.kill_process(pidfd, _SIGKILL)
    loop.watch(pidfd, over)


def reap_orphans(children: "set[int]") -> None:
    """Those whose own parent is gone come to us, and would stay zombies; `children` are reaped elsewhere."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            pids = {int(pid) for pid in file.read().split()}
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return
    for pid in pids - children:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            continue


def of_stranger(pidfd: int, pid: int, start_time: int) -> int | None:
    """The wait status of a dead process that is not our child; None when nobody knows (yet).

    Until its parent reaps it, the zombie still tells; afterwards Linux 6.15 and later do, on a pidfd that
    was open when it ended.
    """
    status = syscalls.pidfd_exit_status(pidfd)
    if status is not None:
        return status
    fields = journal.stat_fields(pid)
    if fields and int(fields[19]) == start_time and fields[0] in "ZX":
        return int(fields[49])
    return syscalls.pidfd_exit_status(pidfd)


def split(status: int | None) -> "tuple[int | None, int | None]":
    """(exit code, signal) of a wait status; both None when it is unknown."""
    if status is None:
        return None, None
    number = status & 0x7F
    return (None, number) if number else (status >> 8 & 0xFF, None)
