"""orch-shim, and somebody is killed at its N-th step: no code of the shim knows of it.

    ORCH_FAULT=BEGIN:N:VICTIM   who first calls function BEGIN (module.name) counts from there on; at step N
                                the process VICTIM is killed (0: the shim itself)
    ORCH_FAULT=BEGIN:record:F   the names of the steps are written to file F, of zeros, instead

A step is a call into the kernel: a function of os, of sockets, or of agent/linux/syscalls.py. It is taken before
the call is made, so that "killed at step N" means after N-1 of them.
"""

import mmap
import os
import select
import signal
import sys
import time

_MODULES = {"posix", "_socket", "fcntl", "resource"}
_NOW, _DONE = 1, 2
_SECONDS = 0.001


class Fault:
    def __init__(self, text: str) -> None:
        self.begin, step, rest = text.split(":", 2)
        self.step = 0 if step == "record" else int(step)
        self.pid = 0
        self.count = 0
        self.memory = mmap.mmap(-1, 1) if self.step else _open_record(rest)
        if self.step:
            _begin_killer(self.memory, int(rest) or os.getpid())

    def __call__(self, frame: object, event: str, argument: object) -> None:
        code = frame.f_code  # type: ignore[attr-defined]
        if not self.pid and event == "call" and self._is_begin(code):
            self.pid = os.getpid()
        if self.pid != os.getpid():
            return  # nobody yet, or a child of who counts
        name = _name(event, code, argument)
        if name:
            self._take(name)

    def _is_begin(self, code: object) -> bool:
        file, name = code.co_filename, code.co_name  # type: ignore[attr-defined]
        return bool(f"{file.rpartition('/')[2].removesuffix('.py')}.{name}" == self.begin)

    def _take(self, name: str) -> None:
        self.count += 1
        if not self.step:
            self.memory.write(f"{name}\n".encode())
        elif self.count == self.step:
            sys.setprofile(None)
            self.memory[0] = _NOW
            while self.memory[0] != _DONE:
                time.sleep(_SECONDS)


def _begin_killer(memory: mmap.mmap, victim: int) -> None:
    """A process in a container cannot reach who is outside, and keeps no descriptor; only memory is left."""
    mine = os.getpid()
    if os.fork():  # noqa: TID251  no gRPC here, and it is gone before the shim has begun
        return
    while memory[0] != _NOW:
        if os.getppid() != mine:
            os._exit(0)
        time.sleep(_SECONDS)
    process = os.pidfd_open(victim)
    os.kill(victim, signal.SIGKILL)
    select.select([process], [], [])
    memory[0] = _DONE
    os._exit(0)


def _open_record(path: str) -> mmap.mmap:
    """Shared memory: a child that has left the file behind with its root still writes to it."""
    with open(path, "r+b") as file:  # noqa: PTH123  the shim has no pathlib, so that its memory is known
        return mmap.mmap(file.fileno(), 0)


def _name(event: str, code: object, argument: object) -> str:
    if event == "c_call":
        module, function = getattr(argument, "__module__", None), getattr(argument, "__name__", "")
        owner = type(getattr(argument, "__self__", None)).__name__
        if module in _MODULES or owner == "socket":
            return "" if function in {"fspath", "fsencode", "getpid"} else function
    elif event == "call" and code.co_filename.endswith("linux/syscalls.py"):  # type: ignore[attr-defined]
        name: str = code.co_name  # type: ignore[attr-defined]
        return "" if name.startswith("_") or name == "kill_process" else name
    return ""


def main() -> None:
    from agent.runtime import shim

    fault = Fault(os.environ["ORCH_FAULT"])  # kept: a shim that renews itself keeps its fault
    sys.setprofile(fault)
    shim.main(sys.argv[3:])
