"""Runs a seccomp program as the kernel does, on one call."""

import struct
from collections.abc import Sequence

_X86_64 = 0xC000003E


def run(program: bytes, number: int, arguments: Sequence[int] = (), machine: int = _X86_64) -> int:
    """The answer, in the kernel's bits."""
    return walk(program, number, arguments, machine)[0]


def walk(
    program: bytes, number: int, arguments: Sequence[int] = (), machine: int = _X86_64
) -> tuple[int, int]:
    """The answer, and how many instructions it took."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, machine, 0, *padded)
    code = list(struct.iter_unpack("<HBBI", program))
    loaded, at, taken = 0, 0, 0
    while True:
        op, yes, no, value = code[at]
        at, taken = at + 1, taken + 1
        match op:
            case 0x20:
                loaded = struct.unpack_from("<I", data, value)[0]
            case 0x54:
                loaded &= value
            case 0x05:
                at += value
            case 0x15:
                at += yes if loaded == value else no
            case 0x25:
                at += yes if loaded > value else no
            case 0x35:
                at += yes if loaded >= value else no
            case 0x45:
                at += yes if loaded & value else no
            case 0x06:
                return value, taken
            case _:
                raise AssertionError(f"no seccomp program of ours has the instruction {op:#x}")
