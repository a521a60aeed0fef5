"""`python -m agent.network.dns FOLDER RESOLV_CONF READY_FD CODE RANGES ADDRESS/PREFIX…`: orch-dns.

Started by the agent. CODE stands for the version of the program; RANGES are the cluster's, with commas between, or "-".
Writes a line to READY_FD once it listens, or what is in the way. Of two on one folder the second leaves.
"""

import errno
import fcntl
import os
import resource
import sys

from agent.network.dns.server import Server

DESCRIPTORS = 16384
"""Each question that is passed on has a socket for each server that was asked."""


def main(folder: str, resolv_conf: str, ready: str, code: str, ranges: str, *subnets: str) -> int:
    """Returns the exit status."""
    lock = os.open(f"{folder}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, most), most))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(lock, b"%10d" % os.getpid(), 0)
        server = Server(folder, resolv_conf, code, ranges, subnets)
    except OSError as error:
        where = ", ".join(each.partition("/")[0] for each in subnets)
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
    try:
        os.write(ready, line.encode() + b"\n")
    except OSError:
        pass
    finally:
        os.close(ready)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
