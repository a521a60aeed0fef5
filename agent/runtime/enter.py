"""The child of a second process in a running container: exec, and exec probes.

The shim has already put it into the container's pid namespace; it joins the rest, takes the same
privileges as the container's own process, and executes.
"""

import fcntl
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake, init, packets, privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from agent.runtime.cgroup import Cgroups
    from agent.runtime.init import Plan

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441


def become(
    plan: "Plan", sock: "_socket.socket", cgroups: "Cgroups", fds: list[int], last_capability: int
) -> "NoReturn":
    """Never returns: the process runs, or the shim has been told why not."""
    try:
        init.keep_only([sock.fileno(), plan["pidfd"], *fds])
        _become(plan, sock, cgroups, fds, last_capability)
    except handshake.StepFailed as failure:
        init.report(sock, failure.step, failure.message)
    except BaseException as error:
        init.report(sock, "enter", f"{type(error).__name__}: {error}")
    os._exit(255)


def _become(
    plan: "Plan", sock: "_socket.socket", cgroups: "Cgroups", fds: list[int], last_capability: int
) -> None:
    os.setsid()
    try:
        cgroups.join(plan["group"])
        syscalls.setns(plan["pidfd"], plan["namespaces"])
    except OSError as error:
        raise handshake.failed("enter", f"enter {plan['container']}", error, "it may have ended") from None
    if plan["terminal"]:
        _open_terminal(sock, plan["uid"], plan.get("size") or [0, 0])
    else:
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
    init.enter_directory(plan["cwd"], is_made=False)
    privileges.limit(plan)
    privileges.drop(plan, last_capability)
    init.execute(plan, sock)


def _open_terminal(sock: "_socket.socket", uid: int, size: list[int]) -> None:
    """A new pty of the container's own devpts, sized before anything can ask; its master travels to the agent."""
    try:
        master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
        fcntl.ioctl(slave, c.TIOCSWINSZ, b"".join(number.to_bytes(2, "little") for number in [*size, 0, 0]))
        os.fchown(slave, uid, -1)
        fcntl.ioctl(slave, c.TIOCSCTTY, 0)
    except OSError as error:
        hint = "the container needs a devpts on /dev/pts"
        raise handshake.failed("terminal", "open a terminal in the container", error, hint) from None
    packets.send(sock, {"terminal": True}, (master,))
    for number in range(3):
        os.dup2(slave, number)
    os.close(master)
