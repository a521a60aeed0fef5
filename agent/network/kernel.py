"""A conversation with the kernel over netlink: wishes in batches, lists, questions.

The socket is ours, not pyroute2's: a batch goes out in one send and the kernel answers each message of it, which
makes a task's whole link in 1.5 ms where AsyncIPRoute took 14. What is said is packed elsewhere.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK = 270, 11, 10, 12
NLMSGERR_ATTR_MSG = 1

HEADER = struct.Struct("IHHII")
_RECEIVE_BYTES = 1 << 16
_BATCH_BYTES = 1 << 15
_BATCH_MESSAGES = 100
"""The answers of a whole batch must fit the socket's buffer, where the smallest takes most of a kilobyte."""


@dataclass(frozen=True, slots=True)
class Message:
    """One wish to the kernel; `forgiven` errors mean that it had been granted before."""

    what: str
    data: bytes
    """Its sequence number is filled in when it is sent."""
    forgiven: frozenset[int] = frozenset()


class KernelRefusedError(OSError):
    """The kernel said no to one message."""


class Socket:
    """A conversation with the network namespace in which it was opened. Blocks; one thread at a time."""

    def __init__(self) -> None:
        """Opens in the calling thread's namespace."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))
        for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()

    def ask(self, messages: Sequence[Message]) -> None:
        """All of them, in few sends; one that fails stops none behind it; raises the first failure."""
        if failures := self.try_all(messages):
            raise failures[0]

    def try_all(self, messages: Sequence[Message]) -> list[KernelRefusedError]:
        """All of them, in few sends; the failures."""
        failures: list[KernelRefusedError] = []
        for batch in _batches(messages):
            first = self._sequence + 1
            self._send(*(message.data for message in batch))
            for number, code, body in self._answers(len(batch), first):
                message = batch[number]
                if code and code not in message.forgiven:
                    words = f"cannot {message.what}: {_sentence(code, body)}"
                    failures.append(KernelRefusedError(code, words))
        return failures

    def answers(self, messages: Sequence[Message]) -> list[bytes | None]:
        """What the kernel says to each question, which must not ask for an acknowledgement; None where it refuses."""
        found: list[bytes | None] = []
        for batch in _batches(messages):
            first = self._sequence + 1
            self._send(*(message.data for message in batch))
            told = {number: body for number, code, body in self._answers(len(batch), first) if not code}
            found += [told.get(number) for number in range(len(batch))]
        return found

    def dump(self, kind: int, body: bytes, what: str) -> Iterator[tuple[int, bytes]]:
        """The kinds and bodies of a whole list; `body` says which."""
        self._send(packed(kind, NLM_F_DUMP, body))
        while True:
            for reply, sequence, found in self._receive():
                if sequence != self._sequence:
                    continue
                if reply == NLMSG_DONE:
                    return
                if reply == NLMSG_ERROR:
                    code = _code(found)
                    raise KernelRefusedError(code, f"cannot list {what}: {_sentence(code, found)}")
                yield reply, found

    def _send(self, *messages: bytes) -> None:
        buffer = bytearray()
        for message in messages:
            self._sequence += 1
            buffer += message[:8] + struct.pack("I", self._sequence) + message[12:]
        self._socket.send(buffer)

    def _answers(self, waiting: int, first: int) -> Iterator[tuple[int, int, bytes]]:
        """One each: its place in the batch, the error or 0, and what was said."""
        while waiting:
            for kind, sequence, body in self._receive():
                if sequence < first:
                    continue
                waiting -= 1
                yield sequence - first, _code(body) if kind == NLMSG_ERROR else 0, body

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        return _parts(self._socket.recv(_RECEIVE_BYTES))


def packed(kind: int, flags: int, body: bytes) -> bytes:
    """A message without its sequence number."""
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 0, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kinds and bodies of what was said in one go."""
    return ((kind, body) for kind, _, body in _parts(data))


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(body: bytes, at: int) -> dict[int, bytes]:
    """What stands behind the fixed part of a body."""
    return dict(_attributes(body, at))


def each(body: bytes, at: int, wanted: int) -> Iterator[bytes]:
    """The attributes of one kind."""
    return (value for kind, value in _attributes(body, at) if kind == wanted)


def _attributes(body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("HH", body, at)
        yield kind & 0x3FFF, body[at + 4 : at + length]
        at += max(4, (length + 3) & ~3)


def _parts(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, _, sequence, _ = HEADER.unpack_from(data, at)
        yield kind, sequence, data[at + HEADER.size : at + length]
        at += (length + 3) & ~3


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        if len(batch) == _BATCH_MESSAGES or (batch and size + len(message.data) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.data)
    if batch:
        yield batch


def _code(body: bytes) -> int:
    return -int(struct.unpack_from("i", body)[0])


def _sentence(code: int, body: bytes) -> str:
    """The kernel's own words where it gave some, behind the error and the header of what we asked."""
    words = attributes(body, 20).get(NLMSGERR_ATTR_MSG)
    return words.rstrip(b"\0").decode(errors="replace") if words else os.strerror(code)
