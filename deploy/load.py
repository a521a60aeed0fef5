"""HTTP requests at a steady rate, a new connection each, whatever becomes of the ones before; every failure is told.

    python -m deploy.load RATE 10.0.0.5:80/version 10.0.0.6:30080/ shop.test=10.0.0.6:80/

Goes on until SIGTERM, then prints one JSON object: sent, failed (a list of when, where and why) and the percentiles.
A single thread with an epoll of its own: a thousand requests a second take a quarter of a processor.
"""

import errno
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field

TIMEOUT_SECONDS = 5.0
MOST_IN_FLIGHT = 4000
MOST_FAILURES_TOLD = 50


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    address: tuple[str, int]
    request: bytes

    @classmethod
    def parse(cls, text: str) -> "Target":
        """`10.0.0.5:80/path`, or with the name that is asked for: `shop.test=10.0.0.5:80/path`."""
        host, _, rest = text.rpartition("=")
        where, _, path = rest.partition("/")
        address, _, port = where.rpartition(":")
        lines = f"GET /{path} HTTP/1.1\r\nHost: {host or address}\r\nConnection: close\r\n\r\n"
        return cls(text, (address, int(port)), lines.encode())


@dataclass(slots=True)
class Request:
    target: Target
    socket: socket.socket
    began: float
    answer: bytearray = field(default_factory=bytearray)
    is_sent: bool = False


class Load:
    def __init__(self, rate: float, targets: list[Target]) -> None:
        self._rate = rate
        self._targets = targets
        self._epoll = select.epoll()
        self._flying: dict[int, Request] = {}
        self._is_over = False
        self.sent = 0
        self.count_failed = 0
        self.failed: list[dict[str, object]] = []
        self.took: list[float] = []

    def stop(self, *_: object) -> None:
        """Begins no more; `run` returns when the last has come back."""
        self._is_over = True

    def run(self) -> None:
        began = time.monotonic()
        while not self._is_over or self._flying:
            now = time.monotonic()
            while not self._is_over and self.sent < (now - began) * self._rate:
                self._begin(self._targets[self.sent % len(self._targets)], now)
            for fd, events in self._epoll.poll(0.002):
                if fd in self._flying:
                    self._go_on(self._flying[fd], events)
            self._give_up(time.monotonic())

    def _begin(self, target: Target, now: float) -> None:
        self.sent += 1
        if len(self._flying) >= MOST_IN_FLIGHT:
            self._fail(target, now, "too many have not come back")
            return
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = sock.connect_ex(target.address)
        request = Request(target, sock, now)
        if code not in {0, errno.EINPROGRESS}:
            sock.close()
            self._fail(target, now, os.strerror(code))
            return
        self._flying[sock.fileno()] = request
        self._epoll.register(sock.fileno(), select.EPOLLOUT | select.EPOLLIN)

    def _go_on(self, request: Request, events: int) -> None:
        try:
            if events & select.EPOLLOUT and not request.is_sent:
                request.socket.send(request.target.request)
                request.is_sent = True
                self._epoll.modify(request.socket.fileno(), select.EPOLLIN)
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                part = request.socket.recv(65536)
                if part:
                    request.answer += part
                else:
                    self._end(request)
        except BlockingIOError:
            return
        except OSError as error:
            when = "before" if not request.is_sent else "after"
            self._close(request)
            self._fail(request.target, request.began, f"{error.strerror} ({when} it was sent)")

    def _end(self, request: Request) -> None:
        self._close(request)
        status = bytes(request.answer.split(b"\r\n", 1)[0])
        if b" 200" in status and b"\r\n\r\n" in request.answer:
            self.took.append(time.monotonic() - request.began)
        else:
            self._fail(
                request.target, request.began, f"answered {status.decode(errors='replace') or 'nothing'}"
            )

    def _give_up(self, now: float) -> None:
        for request in list(self._flying.values()):
            if now - request.began < TIMEOUT_SECONDS:
                return  # in the order in which they began
            self._close(request)
            self._fail(request.target, request.began, f"no answer within {TIMEOUT_SECONDS:g} s")

    def _close(self, request: Request) -> None:
        fd = request.socket.fileno()
        del self._flying[fd]
        self._epoll.unregister(fd)
        request.socket.close()

    def _fail(self, target: Target, began: float, why: str) -> None:
        self.count_failed += 1
        if len(self.failed) < MOST_FAILURES_TOLD:
            at = time.time() - (time.monotonic() - began)
            self.failed.append({"at": round(at, 3), "target": target.name, "why": why})


def main() -> None:
    load = Load(float(sys.argv[1]), [Target.parse(each) for each in sys.argv[2:]])
    signal.signal(signal.SIGTERM, load.stop)
    signal.signal(signal.SIGINT, load.stop)
    print("started", flush=True)
    began = time.monotonic()
    load.run()
    took = sorted(load.took) or [0.0]
    print(
        json.dumps(
            {
                "sent": load.sent,
                "count_failed": load.count_failed,
                "failed": load.failed,
                "seconds": round(time.monotonic() - began, 3),
                "p50": took[len(took) // 2],
                "p99": took[int(len(took) * 0.99)],
                "max": took[-1],
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
