"""Starts shim and logger: fresh interpreters in sessions of their own, that outlive the agent.

They get a listening socket that exists before they do, so that nobody has to wait for them to be ready.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from agent.runtime import packets, sealed

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from agent.runtime import {0}; {0}.main(sys.argv[3:])"
_CODE = str(Path(__file__).resolve().parents[2])


def interpreter() -> str:
    """That of the virtual environment's Python, without the environment."""
    return str(getattr(sys, "_base_executable", sys.executable))


def helper(module: str, title: str, sock: Path, log: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start one, listening at `sock`; it replaces a socket that nobody listens at any more."""
    with contextlib.suppress(FileNotFoundError):
        sock.unlink()
    listener = packets.listen(str(sock))
    program = sealed.interpreter(interpreter())
    command = [interpreter(), "-I", "-S", "-c", _BOOT.format(module), _CODE, title, *arguments]
    try:
        with log.open("ab") as errors:
            return subprocess.Popen(
                [*command, str(listener.fileno())],
                executable=f"/proc/self/fd/{program}",
                pass_fds=(listener.fileno(), program),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            )
    finally:
        listener.close()
        os.close(program)
