"""What an unpacker that was taken over could still do: nothing that unpacking does not need."""

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from agent.images import confinement

pytestmark = pytest.mark.root

TRY = """
import ctypes, os, socket, sys
sys.path[:] = sys.argv[2].split("\\n")
from agent.images import unpacker
from agent.images.ahead import Ahead
from agent.images.limits import Limits
libc = ctypes.CDLL(None, use_errno=True)
ahead = Ahead(2)
unpacker._confine(sys.argv[1], Limits())
def refused(doing, *arguments):
    try:
        doing(*arguments)
    except OSError as error:
        return error.errno
    return 0
def called(number, *arguments):
    return ctypes.get_errno() if libc.syscall(number, *arguments) == -1 else 0
os.mkdir("made", dir_fd=os.open(".", os.O_RDONLY))
found = [
    refused(socket.socket),
    refused(os.fork),
    refused(os.execv, "/bin/true", ["true"]),
    refused(os.kill, os.getppid(), 0),
    refused(os.chroot, "made"),
    called(165, b"none", b"/made", b"tmpfs", 0, 0),
    called(272, 0x20000),
    called(101, 16, os.getppid(), 0, 0),
]
for _ in range(2):
    found += ahead.of(refused(socket.socket) for _ in range(1))
os.write(1, " ".join(map(str, found)).encode())
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of the calls are x86-64's")
def test_an_unpacker_can_neither_leave_nor_start_nor_reach_anything(tmp_path: Path) -> None:
    paths = "\n".join(path for path in sys.path if path)

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", TRY, str(tmp_path), paths], capture_output=True, check=False
    )

    assert [int(each) for each in done.stdout.split()] == [errno.ENOSYS] * 10, done.stderr.decode()
    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_call_on_the_list_leads_to_the_last_step(machine: str) -> None:
    steps = list(struct.iter_unpack("=HBBI", confinement.program(machine)))
    jumps = [(place, step) for place, step in enumerate(steps) if step[0] == 0x15][1:]

    assert {place + 1 + step[1] for place, step in jumps} == {len(steps) - 1}
    assert steps[-1] == (0x06, 0, 0, 0x7FFF0000)
    assert len(jumps) > 40


def test_a_machine_that_is_not_known_has_no_filter() -> None:
    assert confinement.program("vax") == b""


def test_the_numbers_are_those_of_the_machines_tables() -> None:
    table = Path(confinement.__file__).parents[1] / "runtime/seccomp/numbers.txt"
    head, *rows = [line.split() for line in table.read_text().splitlines()]
    known = {row[0]: (int(row[head.index("x86_64")]), int(row[head.index("aarch64")])) for row in rows
             if row[0] in confinement._CALLS}  # fmt: skip

    assert known == confinement._CALLS
