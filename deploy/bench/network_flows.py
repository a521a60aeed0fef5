"""What is sent from one network namespace to another: a flow as fast as it goes, and one word to and fro.

    deploy/bench/network_flows.py sink HOST PORT          takes flows and gives words back
    deploy/bench/network_flows.py flow HOST PORT SECONDS  prints Gbit/s
    deploy/bench/network_flows.py words HOST PORT COUNT   prints the median of microseconds to and fro
    deploy/bench/network_flows.py connections HOST PORT COUNT   prints the median of microseconds of a whole connection

The C programs of others are no faster here: the kernel copies, and Python waits for it. A word goes to and fro on one
processor: to wake another one takes longer than any network, and how long depends on what it does just then.
"""

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_ONCE_BYTES = 1 << 18
_PORT = 7
_ONE_PROCESSOR = {max(os.sched_getaffinity(0))}


@contextmanager
def sink(netns: Path, host: str) -> Iterator[None]:
    """Somebody who takes what is sent there."""
    process = subprocess.Popen(_command(netns, "sink", host, _PORT), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"nobody listens at {host} in {netns}")
        yield
    finally:
        process.kill()
        process.wait()


def gigabits(netns: Path, host: str, seconds: float) -> float:
    """One TCP flow to a sink."""
    return _measured(netns, "flow", host, seconds)


def microseconds(netns: Path, host: str, count: int) -> float:
    """One byte to a sink and back, over one connection."""
    return _measured(netns, "words", host, count)


def microseconds_a_connection(netns: Path, host: str, count: int) -> float:
    """Connect, one byte to a sink and back, close."""
    return _measured(netns, "connections", host, count)


def _measured(netns: Path, what: str, host: str, much: float) -> float:
    done = subprocess.run(
        _command(netns, what, host, _PORT, much), stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def _command(netns: Path, *words: object) -> list[str]:
    return ["nsenter", f"--net={netns}", sys.executable, "-S", "-E", __file__, *map(str, words)]


def _sink(host: str, port: int) -> None:
    with socket.create_server((host, port)) as server:
        print("ready", flush=True)
        while True:
            threading.Thread(target=_take, args=(server.accept()[0],), daemon=True).start()


def _take(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(1 << 20)
    with connection:
        is_alone = False
        while count := connection.recv_into(buffer):
            if count == 1:
                if not is_alone:
                    os.sched_setaffinity(0, _ONE_PROCESSOR)
                    is_alone = True
                connection.send(b".")


def _flow(host: str, port: int, seconds: float) -> float:
    buffer, sent = bytes(_AT_ONCE_BYTES), 0
    with socket.create_connection((host, port), timeout=10) as connection:
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            sent += connection.send(buffer)
    return sent * 8 / (now - began) / 1e9


def _words(host: str, port: int, count: int) -> float:
    times = []
    os.sched_setaffinity(0, _ONE_PROCESSOR)
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.perf_counter()
            connection.send(b".")
            connection.recv(1)
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def _connections(host: str, port: int, count: int) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        with socket.create_connection((host, port)) as connection:
            connection.send(b".")
            connection.recv(1)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def main() -> None:
    what, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if what == "sink":
        _sink(host, port)
    elif what == "flow":
        print(_flow(host, port, float(sys.argv[4])))
    elif what == "connections":
        print(_connections(host, port, int(float(sys.argv[4]))))
    else:
        print(_words(host, port, int(float(sys.argv[4]))))


if __name__ == "__main__":
    main()
