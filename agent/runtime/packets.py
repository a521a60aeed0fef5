"""How agent, shim and logger speak: one value a packet, with file descriptors beside it.

The sockets are SOCK_SEQPACKET, private to root. Values travel as marshal: the helpers live in a few
megabytes, and json alone would cost one more. Version 4 of the format is fixed since Python 3.4.
"""

import _socket  # the module socket pulls in enum and selectors
import errno
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Packet: TypeAlias = dict[str, Any]

MAX_PACKET_BYTES = 4 << 20
_MAX_FDS = 32
_FD_BYTES = 4
_FORMAT = 4


class PacketTooLargeError(ValueError):
    """The other side could not receive it; nothing was sent."""


def connect(path: str) -> "_socket.socket":
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return roomy(sock)


def listen(path: str) -> "_socket.socket":
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    sock.bind(path)
    sock.listen(64)
    return sock


def accept(listener: "_socket.socket") -> "_socket.socket":
    fd, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001  what socket.socket.accept calls
    return roomy(_socket.socket(fileno=fd))


def roomy(sock: "_socket.socket") -> "_socket.socket":
    """A packet must fit the send buffer whole."""
    sock.setsockopt(_socket.SOL_SOCKET, 32, MAX_PACKET_BYTES)  # SO_SNDBUFFORCE
    return sock


def encode(packet: "Packet") -> bytes:
    raw = marshal.dumps(packet, _FORMAT)
    if len(raw) > MAX_PACKET_BYTES // 2:
        raise PacketTooLargeError(f"{len(raw)} bytes, at most {MAX_PACKET_BYTES // 2} fit")
    return raw


def decode(raw: bytes) -> "Packet":
    value: Packet = marshal.loads(raw)
    return value


def send(sock: "_socket.socket", packet: "Packet", fds: "tuple[int, ...]" = ()) -> None:
    raw = encode(packet)
    if fds:
        sock.sendmsg([raw], [rights(fds)])
    else:
        sock.send(raw)


def receive(sock: "_socket.socket") -> "tuple[Packet, list[int]] | None":
    """The next packet and its descriptors (ours to close); None when the other side is gone."""
    size = sock.recv_into(bytearray(1), 0, _socket.MSG_PEEK | _socket.MSG_TRUNC)
    if not size:
        return None
    space = _socket.CMSG_SPACE(_MAX_FDS * _FD_BYTES)
    raw, ancillary, _, _ = sock.recvmsg(size, space, _socket.MSG_CMSG_CLOEXEC)
    return decode(raw), passed(ancillary)


def receive_word(sock: "_socket.socket", size: int) -> "tuple[bytes, list[int]]":
    """A word of that many bytes, as it was sent, with the descriptors beside it; b"" when the other side is gone.

    OSError EMFILE where not all of them had room here: the kernel passes as many as it can, and calls that success.
    """
    space = _socket.CMSG_SPACE(_MAX_FDS * _FD_BYTES)
    word, ancillary, flags, _ = sock.recvmsg(size, space, _socket.MSG_CMSG_CLOEXEC)
    if flags & _socket.MSG_CTRUNC:
        for fd in passed(ancillary):
            os.close(fd)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return word, passed(ancillary)


def rights(fds: "tuple[int, ...]") -> "tuple[int, int, bytes]":
    """Descriptors beside a message. Not through the module array, which pulls in collections."""
    raw = b"".join(fd.to_bytes(_FD_BYTES, sys.byteorder) for fd in fds)
    return _socket.SOL_SOCKET, _socket.SCM_RIGHTS, raw


def passed(ancillary: "list[tuple[int, int, bytes]]") -> list[int]:
    """The descriptors that came beside a message, now ours."""
    fds = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            whole = len(data) - len(data) % _FD_BYTES
            fds += [
                int.from_bytes(data[at : at + _FD_BYTES], sys.byteorder) for at in range(0, whole, _FD_BYTES)
            ]
    return fds
