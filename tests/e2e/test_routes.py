"""HTTP routes of a real cluster: every node serves them, whatever happens behind and beside them."""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel import routes_lab
from tests.kernel.routes_lab import Load
from tests.support.dev import PATIENCE_SECONDS, Dev
from tests.support.pairs import pair

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="needs haproxy"),
]

WEB = """
apiVersion: orch/v1
kind: Service
metadata: {name: routed}
spec:
  replicas: 4
  image: REGISTRY/web:1
  ports: [{name: http, target: 8080}]
  readiness: {http: {path: /healthz, port: http}, period: 1s}
  stop: {drainDelay: 500ms, gracePeriod: 5s}
  rollout: {minReady: 0s, maxSurge: 2, progressDeadline: 60s}
  routes:
    - {host: web.test}
    - {host: tls.test, tls: cert}
"""


def secret(host: str) -> str:
    data = pair(host)
    blocks = "".join(
        f"  {name}: |\n{textwrap.indent(text.decode(), '    ')}" for name, text in sorted(data.items())
    )
    return f"apiVersion: orch/v1\nkind: Secret\nmetadata: {{name: cert}}\ntype: tls\ndata:\n{blocks}---"


def address(cluster: Dev, node: int) -> str:
    return str(cluster.cluster.node(node).address)


def fetch(cluster: Dev, node: int, path: str = "/version", host: str = "web.test") -> str:
    done = subprocess.run(
        ["curl", "-s", "--max-time", "5", "-H", f"Host: {host}", f"http://{address(cluster, node)}{path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def shown(cluster: Dev, node: int) -> str:
    """The host in the certificate."""
    context = routes_lab.trusting()
    try:
        with (
            socket.create_connection((address(cluster, node), 443), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="tls.test") as wrapped,
        ):
            found = re.search(rb"[a-z0-9]+\.test", wrapped.getpeercert(binary_form=True) or b"")
            return found[0].decode() if found else ""
    except (OSError, ssl.SSLError) as error:
        return type(error).__name__


def until(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def proxies(cluster: Dev) -> list[int]:
    """Of all its nodes."""
    mark = f"/{cluster.cluster.name}/".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                command = Path(entry.path, "cmdline").read_bytes()
                if b"haproxy.cfg" in command and mark in command:
                    found.append(int(entry.name))
    return found


def one_of(cluster: Dev, part: str, word: str) -> int:
    return min(pid for command, pid in cluster.processes(part).items() if word in command)


async def test_routes_are_served_by_every_node_through_a_rollout_and_kills(cluster: Dev) -> None:
    cluster.apply(f"{secret('tls.test')}{WEB}", "--timeout", f"{PATIENCE_SECONDS}s")
    for node in (1, 2, 3):
        until(f"node {node} serves", lambda node=node: fetch(cluster, node) == "1")
        until(f"node {node} shows its certificate", lambda node=node: shown(cluster, node) == "tls.test")
    assert fetch(cluster, 2, host="none.test") == "no route leads from none.test/version to a service"

    cluster.apply(secret("renewed.test"))
    until("a new certificate is shown", lambda: shown(cluster, 3) == "renewed.test")

    before = proxies(cluster)
    load = Load(80, per_second=300, connections=10, host="web.test", address=address(cluster, 1))
    async with load:
        await routes_lab.in_thread(
            cluster.apply, WEB.replace("web:1", "web:2"), "--timeout", f"{PATIENCE_SECONDS}s"
        )
        await load.has(50)
        os.kill(one_of(cluster, "node-1", "orch-agent"), signal.SIGKILL)
        os.kill(one_of(cluster, "control", "orch-controlplan"), signal.SIGKILL)
        await load.has(200)
        await routes_lab.in_thread(cluster.restart_control)
        await routes_lab.in_thread(cluster.restart_agent, "node-1")
        await load.has(200)

    assert load.failed == {}
    assert sorted(proxies(cluster)) == sorted(before)
    assert fetch(cluster, 1) == "2"

    def described() -> bool:
        said = cluster.orchctl("describe", "service", "routed", expect=None)
        return bool(re.search(r"REVISION +REQ/S", said) and re.search(r"^ +2 +\d", said, re.MULTILINE))

    until("requests are told", lambda: fetch(cluster, 1) == "2" and described())
    assert "https://tls.test/" in cluster.orchctl("describe", "service", "routed")

    said = cluster.apply(WEB.replace("name: routed", "name: other"), expect=None)
    assert "leads to service routed already" in said

    cluster.delete("service/routed")
    until("the proxies end", lambda: not proxies(cluster))
