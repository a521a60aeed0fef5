"""Fills the connection table of a network namespace, and empties it: run inside, `python conntrack.py fill|flush`."""

import socket
import struct
import sys
from pathlib import Path

_NEW, _DELETE = 0x100, 0x102
_REQUEST, _CREATE = 1, 0x400
_UDP = 17
_ASSURED = 0xE
_PER_SEND = 500


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _tuple(kind: int, source: bytes, target: bytes, ports: tuple[int, int]) -> bytes:
    addresses = _attribute(1, source) + _attribute(2, target)
    protocol = _attribute(1, bytes((_UDP,)))
    protocol += _attribute(2, struct.pack(">H", ports[0])) + _attribute(3, struct.pack(">H", ports[1]))
    return _attribute(kind | 0x8000, _attribute(0x8001, addresses) + _attribute(0x8002, protocol))


def _message(kind: int, body: bytes, flags: int) -> bytes:
    body = struct.pack("BBH", socket.AF_INET, 0, 0) + body
    return struct.pack("IHHII", 16 + len(body), kind, flags, 0, 0) + body


def _entry(number: int) -> bytes:
    source = struct.pack(">I", 0xC6336400 + (number >> 16))
    target, port = b"\xc6\x33\x64\xff", number & 0xFFFF or 1
    body = _tuple(1, source, target, (port, 9)) + _tuple(2, target, source, (9, port))
    body += _attribute(3, struct.pack(">I", _ASSURED)) + _attribute(7, struct.pack(">I", 600))
    return _message(_NEW, body, _REQUEST | _CREATE)


def main(verb: str) -> None:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    link.setsockopt(socket.SOL_SOCKET, 32, 1 << 22)
    if verb == "flush":
        link.send(_message(_DELETE, b"", _REQUEST))
        return
    most = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    for at in range(0, most, _PER_SEND):
        link.send(b"".join(_entry(number) for number in range(at, min(at + _PER_SEND, most))))
    print(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text().strip(), most)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
