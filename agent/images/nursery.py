"""The process that unpackers are born from: it has read what they need, so a layer costs a fork, not a start of Python.

Orders come on descriptor 0, a socket that keeps messages apart; with each come the descriptors to read the blob from
and to answer on, and the answer to each is a descriptor of the process. It ends when the agent closes the socket.
"""

import gc
import os
import signal
import socket

from agent.images import order, unpacker

LONGEST_ORDER = 16384
"""Bytes: a path and a few numbers."""


def main() -> None:
    door = socket.socket(fileno=0)
    signal.signal(signal.SIGCHLD, _reap)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the agent's to answer
    gc.disable()
    gc.freeze()  # what an unpacker is born with is never copied for the sake of counting
    while True:
        text, pipes, _, _ = socket.recv_fds(door, LONGEST_ORDER, 2)
        if not text:
            return
        child = _born(text, pipes)
        socket.send_fds(door, [b"born"], [child])
        for fd in (child, *pipes):
            os.close(fd)


def _born(text: bytes, pipes: list[int]) -> int:
    """A descriptor of the new process. Held back until then: a dead child that was waited for has none."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    pid = os.fork()  # noqa: TID251  one thread, no gRPC: this process is for nothing else
    if not pid:
        _live(text, *pipes)
    child = os.pidfd_open(pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    return child


def _live(text: bytes, blob: int, answer: int) -> None:
    """The child's whole life: nothing of the nursery's is left to it."""
    try:
        for fd, place in ((blob, 0), (answer, 1), (answer, 2)):
            os.dup2(fd, place)
        os.closerange(3, 64)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        unpacker.unpack(order.read(text))
    except BaseException as problem:  # whatever it was: the nursery's loop is not the child's
        os.write(2, f"{type(problem).__name__}: {problem}".encode(errors="replace"))
    finally:
        os._exit(0)


def _reap(_signal: int, _frame: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
