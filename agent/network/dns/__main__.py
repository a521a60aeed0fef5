"""`python -m agent.network.dns FOLDER RESOLV_CONF READY_FD ADDRESS…`: orch-dns, started by the agent.

Writes a line to READY_FD once it listens, or what is in the way. Of two on one folder the second leaves.
"""

import contextlib
import errno
import fcntl
import os
import sys
from pathlib import Path

from agent.network.dns.server import Server


def main(folder: str, resolv_conf: str, ready: str, *addresses: str) -> int:
    """Returns the exit status."""
    lock = os.open(f"{folder}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(lock, b"%10d" % os.getpid(), 0)
        server = Server(Path(folder), addresses, Path(resolv_conf))
    except OSError as error:
        where = ", ".join(addresses)
        _tell(
            int(ready),
            f"orch-dns cannot listen on port 53 of {where}: {error.strerror or error}{_advice(error)}",
        )
        return 1
    _tell(int(ready), "ok")
    server.run()
    return 0


def _advice(error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return ""
    return "; a name server of this node listens on every address: bind it to the addresses that it serves"


def _tell(ready: int, line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(ready, line.encode() + b"\n")
    os.close(ready)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
