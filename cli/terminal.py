"""The user's terminal: given to a command in a container, and taken back in any case."""

import contextlib
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import Any

_CHUNK_BYTES = 64 << 10


def is_terminal() -> bool:
    """Whether there is a user at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def size() -> tuple[int, int]:
    """Rows and columns as they are now, whatever COLUMNS says."""
    found = os.get_terminal_size(sys.stdin.fileno())
    return found.lines, found.columns


@contextlib.contextmanager
def raw() -> Iterator[None]:
    """Every key goes through as it is typed, Ctrl-C too."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)  # what was typed ahead is not thrown away
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def read_into(inputs: Any) -> None:
    """Reads stdin in a thread of its own, which ends with the program.

    A key that was typed after the window changed comes after the window's size: signals are heard later than keys.
    """

    def read() -> None:
        known = size() if sys.stdin.isatty() else None
        while True:
            try:
                data = os.read(sys.stdin.fileno(), _CHUNK_BYTES)
            except OSError:
                data = b""
            if not data:
                inputs.put(None)
                return
            if known is not None and (now := size()) != known:
                known = now
                inputs.put_size(*now)
            inputs.put(data)

    threading.Thread(target=read, daemon=True).start()


def watch_size(inputs: Any) -> None:
    """Each resize of the window is passed on."""
    signal.signal(signal.SIGWINCH, lambda _number, _frame: inputs.put_size(*size()))
