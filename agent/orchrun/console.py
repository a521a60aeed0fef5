"""Terminals: the caller's console socket, or the terminal that we were called in, which we then relay to."""

import _socket
import fcntl
import os
import select
import sys

from agent.linux import constants as c
from agent.orchrun.errors import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

_CHUNK_BYTES = 65536
_TIOCGWINSZ = 0x5413


def connect(path: str) -> "_socket.socket":
    """To whoever keeps the master of the terminal: conmon, containerd's shim."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError as error:
        raise Failed(f"--console-socket {path}: {(error.strerror or str(error)).lower()}") from None
    return sock


def size() -> "dict[str, int]":
    """Rows and columns of the terminal that we were called in; {} where that is none."""
    try:
        raw = fcntl.ioctl(0, _TIOCGWINSZ, bytes(8))
    except OSError:
        return {}
    return {
        "height": int.from_bytes(raw[:2], sys.byteorder),
        "width": int.from_bytes(raw[2:4], sys.byteorder),
    }


class Relay:
    """Bytes both ways between our descriptors 0 and 1 and a master, in raw mode, until the process ends."""

    def __init__(self, master: int) -> None:
        self.master = master
        self._before: list[Any] = []

    def __enter__(self) -> "Self":
        import termios
        import tty

        if os.isatty(0):
            self._before = termios.tcgetattr(0)
            tty.setraw(0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._before)

    def resize(self) -> None:
        """Pass on the size that our own terminal has now."""
        try:
            fcntl.ioctl(self.master, c.TIOCSWINSZ, fcntl.ioctl(0, _TIOCGWINSZ, bytes(8)))
        except OSError:
            return  # we have none

    def run(self, pidfd: int, is_over: "Callable[[], bool]") -> None:
        """Until the process has ended and what it wrote has been passed on."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self.master, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self.master in ready and not self._output():
                poll.unregister(self.master)
            if 0 in ready and not self._input():
                poll.unregister(0)
            if pidfd in ready and is_over():
                self._drain()
                return

    def _output(self) -> bool:
        try:
            chunk = os.read(self.master, _CHUNK_BYTES)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        _write(1, chunk)
        return bool(chunk)

    def _input(self) -> bool:
        chunk = os.read(0, _CHUNK_BYTES)
        if not chunk:
            _write(self.master, b"\x04")  # what the end of input is on a terminal
            return False
        _write(self.master, chunk)
        return True

    def _drain(self) -> None:
        os.set_blocking(self.master, False)
        while True:
            try:
                if not self._output():
                    return
            except BlockingIOError:
                return


def _write(fd: int, chunk: bytes) -> None:
    while chunk:
        chunk = chunk[os.write(fd, chunk) :]
