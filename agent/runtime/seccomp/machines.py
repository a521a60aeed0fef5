"""The machines whose system calls a filter can tell apart, and the numbers of the calls on each."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_TABLE = f"{os.path.dirname(__file__)}/numbers.txt"


class Machine:
    """A way to make system calls, as seccomp tells it (linux/audit.h)."""

    __slots__ = ("audit", "bits", "name")

    def __init__(self, name: str, audit: int, bits: int) -> None:
        self.name = name
        self.audit = audit
        self.bits = bits


X86_64: "Final" = Machine("x86_64", 0xC000003E, 64)
X86: "Final" = Machine("x86", 0x40000003, 32)
AARCH64: "Final" = Machine("aarch64", 0xC00000B7, 64)
ARM: "Final" = Machine("arm", 0x40000028, 32)
BY_NAME = {
    "SCMP_ARCH_X86_64": X86_64,
    "SCMP_ARCH_X86": X86,
    "SCMP_ARCH_AARCH64": AARCH64,
    "SCMP_ARCH_ARM": ARM,
}
_OTHERS = (
    *("X32", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64", "PPC64LE"),
    *("S390", "S390X", "PARISC", "PARISC64", "RISCV64", "LOONGARCH64", "M68K", "SH", "SHEB"),
)
ELSEWHERE = frozenset(f"SCMP_ARCH_{name}" for name in _OTHERS)
"""A profile may name them; no program for them runs here. X32 is a way into x86-64 that is always refused."""

_tables: dict[str, dict[str, int]] = {}


def native() -> Machine:
    return AARCH64 if os.uname().machine == "aarch64" else X86_64


def numbers(machine: Machine) -> dict[str, int]:
    """Name → number of every system call of a machine."""
    if not _tables:
        with open(_TABLE, encoding="utf-8") as file:
            head, *rows = [line.split() for line in file]
        for column, name in enumerate(head):
            if column:
                _tables[name] = {row[0]: int(row[column]) for row in rows if row[column] != "-"}
    return _tables[machine.name]
