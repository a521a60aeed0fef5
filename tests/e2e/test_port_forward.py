"""`orchctl port-forward`: local ports that lead into tasks of any node."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support import dev
from tests.support.dev import PATIENCE_SECONDS, Dev

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {name: pf}
spec:
  replicas: 2
  stop: {drainDelay: 0s, gracePeriod: 1s}
  rollout: {minReady: 0s}
  ports: [{name: http, target: 8080, port: 80}]
  containers:
    - name: main
      image: REGISTRY/web:1
      readiness: {exec: [/bin/cat, /tmp/up], period: 200ms}
      entrypoint: [/bin/sh, -c]
      command: ["hostname >/www/name; echo >/tmp/up; exec httpd -f -p 127.0.0.1:8080 -h /www"]
    - {name: echo, image: REGISTRY/web:1, entrypoint: [/bin/busybox, nc], command: [-ll, -p, "7", -e, /bin/cat]}
"""


class Forwarding:
    """orchctl port-forward under way."""

    def __init__(self, cluster: Dev, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [dev.ORCHCTL, "port-forward", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"ORCH_CONFIG": str(cluster.config)},
        )
        self.said = ""

    def line(self, pattern: str) -> re.Match[str]:
        """The first line that matches, once it is there."""
        assert self.process.stdout is not None
        while not (found := re.search(f"{pattern}.*\n", self.said)):
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
            assert ready, f"{pattern} never came: {self.said}"
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            assert piece, f"it ended without {pattern}: {self.said}"
            self.said += piece.decode()
        return found

    def port(self, remote: int) -> int:
        return int(self.line(rf"Forwarding from 127\.0\.0\.1:(\d+) -> {remote}\b")[1])


@contextlib.contextmanager
def forwarding(cluster: Dev, *arguments: str) -> Iterator[Forwarding]:
    one = Forwarding(cluster, *arguments)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


def get(port: int, path: str = "/name", host: str = "127.0.0.1") -> str:
    """The body, empty where the connection is broken."""
    with socket.create_connection((host, port), PATIENCE_SECONDS) as link:
        link.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        with contextlib.suppress(ConnectionResetError):
            return received(link).partition(b"\r\n\r\n")[2].decode().strip()
    return ""


def connected(port: int) -> socket.socket:
    """Accepted by the server inside, too: busybox refuses who comes while two others wait."""
    link = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
    link.sendall(b"!")
    assert link.recv(1) == b"!"
    return link


def received(link: socket.socket) -> bytes:
    found = b""
    while piece := link.recv(1 << 20):
        found += piece
    return found


def test_local_ports_lead_into_a_task_that_listens_on_loopback_only(cluster: Dev) -> None:
    cluster.apply(SERVICE)

    with forwarding(cluster, "svc/pf", ":80", ":http", ":7") as one:
        ports = one.port(8080), int(one.line(r"127\.0\.0\.1:(\d+) -> 7\b")[1])
        first = get(ports[0])
        assert first in {"pf.1", "pf.2"}
        assert get(ports[0], host="::1") == first
        one.line(f"Handling connection for {ports[0]}")

        links = [connected(ports[1]) for _ in range(40)]
        for number, link in enumerate(links):
            link.sendall(b"%d " % number * 100_000)
            link.shutdown(socket.SHUT_WR)
        for number, link in enumerate(links):
            assert received(link) == b"%d " % number * 100_000
            link.close()

        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(PATIENCE_SECONDS) == 0
        assert b"Traceback" not in one.said.encode() + one.process.stdout.read()

    with forwarding(cluster, "task/pf.2", ":http") as one:
        assert get(one.port(8080)) == "pf.2"


def test_another_task_takes_over_when_one_has_gone(cluster: Dev) -> None:
    cluster.apply(SERVICE)

    with forwarding(cluster, "pf", ":80") as one:
        port = one.port(8080)
        first = get(port)
        cluster.orchctl("exec", first, "--", "/bin/busybox", "rm", "/tmp/up")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while get(port) == first:
            assert time.monotonic() < deadline, "it stays with a task that is not ready"
        assert get(port) == ("pf.2" if first == "pf.1" else "pf.1")


def test_mistakes_are_told_before_and_broken_connections_as_they_come(cluster: Dev) -> None:
    cluster.apply(SERVICE)

    with forwarding(cluster, "pf.1", ":4444", ":80") as one:
        port = one.port(4444)
        assert get(port) == ""
        one.line(r"error: 127\.0\.0\.1:\d+ -> pf\.1:4444: nothing listens on port 4444 in pf\.1\.1 \(conn")
        assert one.process.poll() is None

        said = cluster.orchctl("port-forward", "pf.1", f"{port}:80", expect=1)
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said

    assert "there is no service or task nope" in cluster.orchctl("port-forward", "svc/nope", "80", expect=4)
    assert "no port named https; it has http" in cluster.orchctl("port-forward", "pf", ":https", expect=4)
    assert "is not a port" in cluster.orchctl("port-forward", "pf", "0", expect=2)


def test_it_goes_on_after_the_control_plane_was_killed(cluster: Dev) -> None:
    cluster.apply(SERVICE)

    with forwarding(cluster, "pf", ":80") as one:
        port = one.port(8080)
        assert get(port)
        control = next(
            pid for line, pid in cluster.processes("control").items() if "orch-controlplane" in line
        )
        os.kill(control, signal.SIGKILL)
        cluster.restart_control()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not get(port):
            assert time.monotonic() < deadline, "it never goes on"
