"""A network namespace of one's own begins with its loopback down; programs expect 127.0.0.1 to be there."""

import _socket  # the module socket pulls in enum and selectors
import fcntl

_SIOCSIFFLAGS = 0x8914
_UP_AND_RUNNING = 0x1 | 0x40
_IFREQ_BYTES = 40


def raise_it() -> None:
    """In the network namespace that we are in."""
    request = b"lo".ljust(16, b"\0") + _UP_AND_RUNNING.to_bytes(2, "little")
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, request.ljust(_IFREQ_BYTES, b"\0"))
    finally:
        sock.close()
