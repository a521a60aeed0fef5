"""Speaks to the kernel's packet filter: transactions of elements and chains, and what is there now.

nft writes the rules that never change (rules.py); all that comes and goes goes through here, in the kernel's own
form, because nft takes 15 to 20 ms for what the kernel does in a fraction of one.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Self

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_NETLINK_NETFILTER = 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_HEADER = struct.Struct("=IHHII")
_RECEIVE_BYTES = 1 << 20
_BUFFER_BYTES = 4 << 20
_ANSWER_SECONDS = 60
DUMP_INTERRUPTED = 0x10


class RefusedError(OSError):
    """The kernel did nothing of the transaction."""


class Socket:
    """A conversation with the network namespace in which it was opened. Blocks; one thread at a time."""

    def __init__(self) -> None:
        """Opens in the calling thread's namespace."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        )
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _ANSWER_SECONDS, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()

    def transact(self, data: bytes, last: int) -> None:
        """All of it or nothing; `last` is the number of the message that the kernel answers."""
        self._forget_answers()
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(data) + _BUFFER_BYTES)
        self._socket.send(data)
        failure = 0
        while True:
            for kind, _, sequence, body in self._receive():
                if kind != _NLMSG_ERROR:
                    continue
                failure = failure or -int(struct.unpack_from("i", body)[0])
                if sequence >= last or sequence == 1:
                    if failure:
                        raise RefusedError(failure, os.strerror(failure))
                    return

    def dump(self, request: bytes) -> list[bytes]:
        """The bodies of all answers; taken anew where something changed in the middle."""
        while (bodies := self._dump_once(request)) is None:
            pass
        return bodies

    def _dump_once(self, request: bytes) -> list[bytes] | None:
        self._forget_answers()
        self._socket.send(request)
        bodies: list[bytes] = []
        whole = True
        while True:
            for kind, flags, _, body in self._receive():
                whole = whole and not flags & DUMP_INTERRUPTED
                if kind == _NLMSG_DONE:
                    return bodies if whole else None
                if kind == _NLMSG_ERROR:
                    code = -int(struct.unpack_from("i", body)[0])
                    raise RefusedError(code, os.strerror(code))
                bodies.append(body)

    def answer(self, request: bytes) -> bytes:
        """The body of the one answer to a question."""
        self._forget_answers()
        self._socket.send(request)
        kind, _, _, body = next(self._receive())
        if kind == _NLMSG_ERROR:
            code = -int(struct.unpack_from("i", body)[0])
            raise RefusedError(code, os.strerror(code))
        return body

    def ask(self, requests: Sequence[bytes], forgiven: frozenset[int] = frozenset()) -> None:
        """Each for itself, each answered; the first failure that is not forgiven is raised."""
        self._forget_answers()
        for request in requests:
            self._socket.send(request)
            for kind, _, _, body in self._receive():
                code = -int(struct.unpack_from("i", body)[0]) if kind == _NLMSG_ERROR else 0
                if code and code not in forgiven:
                    raise RefusedError(code, os.strerror(code))

    def _forget_answers(self) -> None:
        """Of a conversation that was given up half-way."""
        try:
            while self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT):
                pass
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.ENOBUFS}:
                raise

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(_RECEIVE_BYTES)
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
            yield kind, flags, sequence, data[at + _HEADER.size : at + length]
            at += (length + 3) & ~3
