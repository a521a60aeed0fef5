"""Small packets that come back: how many, how quickly, and how large they may be. UDP and ICMP."""

import asyncio
import os
import socket
import statistics
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from orch.v1 import control_pb2 as pb

PATIENCE_SECONDS = 1.0
PACE_SECONDS = 0.01
COUNT = 20
SMALL = 92
"""Bytes of a whole packet that any link carries."""
IP_HEADER, UDP_HEADER, ICMP_HEADER = 20, 8, 8
_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3
_NUMBER = struct.Struct("!8sI")
_ECHO_REQUEST, _ECHO_REPLY = 8, 0


@dataclass(slots=True)
class Round:
    """What one number of packets came to."""

    sent: int = 0
    seconds: list[float] = field(default_factory=list)
    sizes: set[int] = field(default_factory=set)
    """Of whole packets that came back."""
    refusal: str = ""
    """Why some could not even be sent."""

    @property
    def received(self) -> int:
        return len(self.seconds)

    @property
    def median(self) -> float:
        """0 where nothing came back."""
        return statistics.median(self.seconds) if self.seconds else 0.0


class Sender:
    """A socket that sends packets which may not be cut, and knows those that come back."""

    def __init__(self, link: socket.socket) -> None:
        """Owns the socket: UDP, or raw ICMP."""
        self._link = link
        self._is_icmp = link.type == socket.SOCK_RAW
        self._mine = os.urandom(8)
        self._waiting: dict[int, tuple[Round, float, int]] = {}
        self._next = 0
        self._came = asyncio.Event()
        link.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        asyncio.get_running_loop().add_reader(link, self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._link)
        self._link.close()

    async def send(self, to: tuple[str, int], sizes: Mapping[int, int]) -> Round:
        """`sizes`: of whole packets, and how many of each. Returns when all are back, or after the patience."""
        found = Round()
        for size, count in sizes.items():
            for _ in range(count):
                self._send(to, size, found)
                await asyncio.sleep(PACE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(each is found for each, _, _ in self._waiting.values()):
            left = deadline - time.monotonic()
            self._came.clear()
            try:
                async with asyncio.timeout(left):
                    await self._came.wait()
            except TimeoutError:
                break
        self._waiting = {number: each for number, each in self._waiting.items() if each[0] is not found}
        return found

    def _send(self, to: tuple[str, int], size: int, found: Round) -> None:
        self._next += 1
        found.sent += 1
        head = IP_HEADER + (ICMP_HEADER if self._is_icmp else UDP_HEADER)
        payload = _NUMBER.pack(self._mine, self._next).ljust(size - head, b"\0")
        self._waiting[self._next] = (found, time.monotonic(), size)
        try:
            self._link.sendto(_icmp(payload) if self._is_icmp else payload, to)
        except OSError as error:
            del self._waiting[self._next]
            found.refusal = error.strerror or str(error)

    def _read(self) -> None:
        while True:
            try:
                data, _ = self._link.recvfrom(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                continue  # of a packet that was refused on its way
            if self._is_icmp:
                data = data[(data[0] & 15) * 4 :]
                if data[:1] != bytes((_ECHO_REPLY,)):
                    continue
                data = data[ICMP_HEADER:]
            if len(data) < _NUMBER.size:
                continue
            mine, number = _NUMBER.unpack_from(data)
            if mine == self._mine and number in self._waiting:
                found, at, size = self._waiting.pop(number)
                found.seconds.append(time.monotonic() - at)
                found.sizes.add(size)
                self._came.set()


def result(what: str, to: str, way: str, found: Round) -> pb.NetResult:
    """In the words of a net check."""
    said = pb.NetResult(what=what, to=to, way=way, sent=found.sent, received=found.received)
    said.median, said.bytes = found.median, max(found.sizes, default=0)
    if not found.received:
        said.error = found.refusal or "no answer"
    return said


def answer(link: socket.socket) -> None:
    """Sends back whatever comes to a UDP socket, until it is closed; for the event loop."""
    while True:
        try:
            data, whose = link.recvfrom(1 << 16)
            link.sendto(data, whose)
        except BlockingIOError:
            return
        except OSError:
            continue


def _icmp(payload: bytes) -> bytes:
    body = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 0, 0) + payload + b"\0" * (len(payload) % 2)
    total = sum(struct.unpack(f"!{len(body) // 2}H", body))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", _ECHO_REQUEST, 0, ~total & 0xFFFF, 0, 0) + payload
