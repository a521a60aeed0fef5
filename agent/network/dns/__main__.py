"""`python -m agent.network.dns FOLDER RESOLV_CONF DESCRIPTORS CODE RANGES ADDRESS/PREFIX…`: orch-dns.

Started by the agent. DESCRIPTORS are a pipe, into which a line is written once it listens or what is in the way, and
for each address a bound socket for datagrams and one that listens for streams. CODE stands for the version of the
program; RANGES are the cluster's, with commas between, or "-". Of two on one folder the second leaves.
"""

import fcntl
import os
import resource
import socket
import sys

from agent.network.dns.server import Server

DESCRIPTORS = 16384
"""Each question that is passed on has a socket for each server that was asked."""


def main(folder: str, resolv_conf: str, descriptors: str, code: str, ranges: str, *subnets: str) -> int:
    """Returns the exit status."""
    ready, *doors = map(int, descriptors.split(","))
    lock = os.open(f"{folder}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, most), most))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(lock, b"%10d" % os.getpid(), 0)
        server = Server(
            folder, resolv_conf, code, ranges, subnets, [socket.socket(fileno=each) for each in doors]
        )
    except OSError as error:
        _tell(ready, f"orch-dns cannot start in {folder}: {error.strerror or error}")
        return 1
    _tell(ready, "ok")
    server.run()
    return 0


def _tell(ready: int, line: str) -> None:
    try:
        os.write(ready, line.encode() + b"\n")
    except OSError:
        pass
    finally:
        os.close(ready)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
