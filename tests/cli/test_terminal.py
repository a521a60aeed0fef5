"""The user's terminal, on a real one."""

import fcntl
import os
import pty
import queue
import struct
import termios

import pytest

from cli import terminal


class Inputs(queue.Queue[object]):
    """Keeps the order in which keys and sizes come."""

    def put_size(self, rows: int, columns: int) -> None:
        self.put((rows, columns))


def test_a_key_typed_after_the_window_changed_comes_after_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hears the signal here: the size must come from looking."""
    user, ours = pty.openpty()
    resize(ours, 24, 80)
    inputs = Inputs()
    with os.fdopen(ours) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with terminal.raw():
            terminal.read_into(inputs)
            os.write(user, b"a")
            assert inputs.get(timeout=10) == b"a"
            resize(ours, 40, 123)
            os.write(user, b"b")
            assert [inputs.get(timeout=10) for _ in range(2)] == [(40, 123), b"b"]
        os.close(user)
        assert inputs.get(timeout=10) is None


def resize(descriptor: int, rows: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
