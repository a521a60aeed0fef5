"""A terminal inside a container: a pty of its own devpts, made by the child once that is mounted.

The master leaves the container over a socket; the slave becomes standard input, output and error, and for
a main process also /dev/console. Nothing is looked up by a path that an image could have prepared: the
slave is opened from its master, and the target of /dev/console without following any link (CVE-2025-52565).
"""

import _socket
import fcntl
import os

from agent.linux import constants as c
from agent.linux import syscalls
from agent.runtime import handshake, packets

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCGPTN = 0x80045430
_DEVPTS_MAJORS = range(136, 144)
_HINT = "the container needs a devpts on /dev/pts"


def attach(sock: "_socket.socket", console_socket: int, uid: int, size: "list[int]") -> None:
    """Make it, send the master away, and stand on the slave. Size: rows and columns."""
    try:
        master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
        if os.major(os.fstat(slave).st_rdev) not in _DEVPTS_MAJORS:
            raise handshake.StepFailed("terminal", f"what is mounted on /dev/pts makes no terminals; {_HINT}")
        if any(size):
            fcntl.ioctl(slave, c.TIOCSWINSZ, b"".join(n.to_bytes(2, "little") for n in [*size, 0, 0]))
        os.fchown(slave, uid, -1)
        fcntl.ioctl(slave, c.TIOCSCTTY, 0)
        number = int.from_bytes(fcntl.ioctl(master, _TIOCGPTN, b"\0\0\0\0"), "little")
    except OSError as error:
        raise handshake.failed("terminal", "open a terminal in the container", error, _HINT) from None
    _hand_over(sock, console_socket, master, f"/dev/pts/{number}")
    for standard in range(3):
        os.dup2(slave, standard)
    os.close(master)
    if slave > 2:
        os.close(slave)


def _hand_over(sock: "_socket.socket", console_socket: int, master: int, name: str) -> None:
    """As runc does over a console socket: one message, its text the name of the terminal."""
    if console_socket < 0:
        packets.send(sock, {"terminal": True}, (master,))
        return
    console = _socket.socket(fileno=console_socket)
    try:
        console.sendmsg([name.encode()], [packets.rights((master,))])
    except OSError as error:
        raise handshake.failed("terminal", "send the terminal over the console socket", error) from None
    console.close()


def bind_console() -> None:
    """The terminal that we stand on is also /dev/console."""
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    try:
        # The node of an image is a plain file or nothing; a device or link there is not ours to open.
        if not os.path.lexists("/dev/console"):
            os.close(os.open("/dev/console", flags | os.O_EXCL, 0o600))
        target = syscalls.openat2(c.AT_FDCWD, "/dev/console", os.O_PATH, c.RESOLVE_NO_SYMLINKS)
        tree = syscalls.open_tree(0, "", c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_EMPTY_PATH)
        syscalls.move_mount_on(tree, target)
        os.close(tree)
        os.close(target)
    except OSError as error:
        hint = "/dev/console of the image must be no link"
        raise handshake.failed("terminal", "bind the terminal on /dev/console", error, hint) from None
