"""Loads a seccomp program and tries system calls under it; prints what came of each. Run as a program.

Its input is JSON: {"program": hex, "flags": n, "calls": [[name, number, arguments...], ...]}.
"""

import ctypes
import json
import mmap
import os
import signal
import sys

from agent.linux import constants as c
from agent.linux import syscalls

_GETPID_OF_32_BITS = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret


def main() -> None:
    asked = json.load(sys.stdin)
    trapped: list[int] = []
    signal.signal(signal.SIGSYS, lambda number, _: trapped.append(number))
    foreign = _foreign_call() if asked.get("foreign") else None
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    syscalls.prctl(c.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.seccomp_filter(bytes.fromhex(asked["program"]), asked.get("flags", 0))
    for name, number, *arguments in asked["calls"]:
        padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
        answer = syscall(ctypes.c_long(number), *(ctypes.c_ulong(one) for one in padded))
        outcome = os.strerror(ctypes.get_errno()) if answer < 0 else "done"
        _say(name, "trapped" if trapped else outcome)
        trapped.clear()
    if foreign:
        _say("foreign", str(foreign()))


def _say(name: str, outcome: str) -> None:
    sys.stdout.write(json.dumps([name, outcome]) + "\n")
    sys.stdout.flush()


def _foreign_call() -> "ctypes._FuncPointer":
    """A system call the way that 32-bit programs make it, from this program."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(_GETPID_OF_32_BITS)
    place = ctypes.addressof(ctypes.c_char.from_buffer(code))
    function = ctypes.CFUNCTYPE(ctypes.c_int)(place)
    function.keep = code  # type: ignore[attr-defined]
    return function


if __name__ == "__main__":
    main()
