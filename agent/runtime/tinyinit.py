"""A PID 1 of 100 bytes for `init: true`: passes signals to the payload (PID 2), reaps everybody.

It holds two pages instead of an interpreter, and needs no compiler on the node. It is executed from a
sealed memfd, with all signals blocked. Its exit code is the payload's, or 128 and the signal.
"""

import fcntl
import os
import struct

_BASE = 0x400000
_HEADERS_BYTES = 64 + 56
_F_ADD_SEALS = 1033
_ALL_SEALS = 0xF
_MACHINE_X86_64 = 62

# (label or "", code as hex, label that a final one-byte jump goes to or "", what it does)
_X86_64 = (
    ("", "4883ec10", "", "room on the stack"),
    ("", "48c70424ffffffff", "", "[rsp] = the set of all signals"),
    ("wait", "b880000000 4889e7 31f6 31d2 41ba08000000 0f05", "", "eax = rt_sigtimedwait(rsp, 0, 0, 8)"),
    ("", "85c0 7e", "wait", "interrupted: again"),
    ("", "83f811 74", "reap", "SIGCHLD"),
    ("", "89c6 bf02000000 b83e000000 0f05", "", "kill(2, eax)"),
    ("", "eb", "wait", ""),
    ("reap", "bfffffffff 488d742408 ba01000000 4531d2 b83d000000 0f05", "", "wait4(-1, rsp+8, WNOHANG, 0)"),
    ("", "85c0 7e", "wait", "nobody left to reap"),
    ("", "83f802 75", "reap", "an orphan"),
    ("", "8b442408 89c2 83e27f 75", "killed", "edx = signal of the wait status"),
    ("", "0fb6fc eb", "exit", "edi = exit code of the wait status"),
    ("killed", "8dba80000000", "", "edi = 128 + signal"),
    ("exit", "b8e7000000 0f05", "", "exit_group(edi)"),
)


def program() -> int:
    """A descriptor to execute; OSError on a machine for which there is none."""
    machine = os.uname().machine
    if machine != "x86_64":
        raise OSError(f"init: true is not supported on {machine} yet")
    fd = os.memfd_create("orch-init", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, image())
    fcntl.fcntl(fd, _F_ADD_SEALS, _ALL_SEALS)
    return fd


def image() -> bytes:
    """An ELF file of one segment."""
    code = _assemble()
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    entry = _BASE + _HEADERS_BYTES
    header = struct.pack("<HHIQQQIHHHHHH", 2, _MACHINE_X86_64, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = _HEADERS_BYTES + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ident + header + segment + code


def _assemble() -> bytes:
    places: dict[str, int] = {}
    position = 0
    for label, code, jump, _ in _X86_64:
        if label:
            places[label] = position
        position += len(bytes.fromhex(code)) + bool(jump)
    text = b""
    for _, code, jump, _ in _X86_64:
        text += bytes.fromhex(code)
        if jump:
            text += struct.pack("b", places[jump] - len(text) - 1)
    return text
