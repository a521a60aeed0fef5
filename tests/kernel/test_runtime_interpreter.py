"""The interpreter that starts containers cannot be reached or written from inside one (CVE-2019-5736).

The attacks only open for writing and write nothing, so that a defence that is taken out harms no machine.
"""

import asyncio
import contextlib
import dataclasses
import os
import platform
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import sealed
from agent.runtime.container import LaunchFailed

pytestmark = pytest.mark.root

_PAUSE_FOR_EVER = bytes.fromhex("b822000000 0f05 ebf7")  # eax = pause; syscall; again


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the attack is machine code for x86-64")
@pytest.mark.parametrize("by", ["main", "second"])
async def test_a_script_for_proc_self_exe_gets_hold_of_no_file_that_can_be_written(
    bench: Any, by: str
) -> None:
    """The kernel executes the interpreter once more, as a process that the container may look into."""
    _plant(bench.layer)
    watch = """
    while true; do for p in /proc/[0-9]*; do case $(readlink $p/exe) in *python*)
      exec 4< $p/exe && echo holding
      ( exec 3>> $p/exe ) 2>&1; ( exec 3>> /proc/self/fd/4 ) 2>&1; exit;;
    esac; done; done
    """
    options = {"added_capabilities": ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN"], "env": {"PATH": "/bin"}}
    if by == "main":
        watcher = await bench.launch("sh", "-c", watch, **options)
        with contextlib.suppress(LaunchFailed):  # it may be caught before it has executed anything
            await bench.runtime.enter(watcher.container, args=["/bin/evil"])
        await asyncio.wait_for(bench.runtime.wait(watcher.container), 10 * bench.patience)
        said = await bench.said(watcher.container)
    else:
        victim = await bench.launch("/bin/evil", init=True, **options)
        reader, writer = os.pipe()
        entered = await bench.runtime.enter(victim.container, args=["sh", "-c", watch], stdout=writer)
        os.close(writer)
        await asyncio.wait_for(entered.wait(), 10 * bench.patience)
        said = os.read(reader, 65536).decode()
        os.close(reader)

    assert "holding" in said, "the attack did not come as far as it should"
    assert said.count("Read-only file system") == 2


async def test_a_process_on_its_way_in_cannot_be_looked_into(bench: Any) -> None:
    """While a hook runs inside, the main process still is a fork of the shim."""
    look = "cat /proc/1/environ; ls /proc/1/fd; readlink /proc/1/exe /proc/1/cwd; exec 3>>/proc/1/exe"
    script = f"( {look} ) > /tmp/saw 2>&1; true"
    hooks = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}]}
    launch = bench.launch_of("cat", "/tmp/saw")

    await bench.runtime.launch(dataclasses.replace(launch, config={**launch.config, "hooks": hooks}))

    said = await bench.said(launch.container)
    assert "python" not in said
    assert "LC_ALL" not in said
    assert said.count("ermission denied") >= 2


async def test_shim_and_logger_run_a_program_that_nobody_can_write(bench: Any) -> None:
    for helper in ("shim", "log"):
        path = f"/proc/{bench.helper(helper)}/exe"
        with pytest.raises(OSError, match="Read-only file system"):
            os.close(os.open(path, os.O_WRONLY))
    await bench.runtime.upgrade()
    await bench.runtime.containers()  # answered by the new program
    with pytest.raises(OSError, match="Read-only file system"):
        os.close(os.open(f"/proc/{bench.helper('shim')}/exe", os.O_WRONLY))


def test_where_no_overlay_can_be_made_the_interpreter_is_a_sealed_copy() -> None:
    copy = sealed._copied(os.path.realpath(sys.executable))

    with pytest.raises(PermissionError):
        os.write(copy, b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(copy, 0)
    assert os.fstat(copy).st_size == Path(sys.executable).stat().st_size
    os.close(copy)


def _plant(layer: Path) -> None:
    """What the attacker's image holds: the script, and a "loader" that keeps the process as it is."""
    evil = layer / "bin" / "evil"
    evil.write_text("#!/proc/self/exe\n")
    evil.chmod(0o755)
    for loader in ("lib64/ld-linux-x86-64.so.2", "lib/ld-linux-x86-64.so.2"):
        path = layer / loader
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_program())
        path.chmod(0o755)


def _program() -> bytes:
    base, headers = 0x10000000, 64 + 56
    size = headers + len(_PAUSE_FOR_EVER)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, base, base, size, size, 0x1000)  # writable: Linux 6.1 pads it
    return ident + header + segment + _PAUSE_FOR_EVER
