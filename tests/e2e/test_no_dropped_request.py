"""Nobody who asks a service notices what happens behind its address."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
RATE = 150
WEB = """
apiVersion: orch/v1
kind: Service
metadata: {name: asked}
spec:
  replicas: 6
  image: REGISTRY/web:1
  ports: [{name: http, target: 8080, port: 80, published: 30085}]
  readiness: {http: {path: /healthz, port: http}, period: 1s}
  stop: {drainDelay: 500ms, gracePeriod: 5s}
  rollout: {minReady: 0s, maxSurge: 2, progressDeadline: 60s}
"""


@dataclass
class Asked:
    """What became of the requests, once the load has ended."""

    sent: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def load(cluster: Dev, *targets: str) -> Iterator[Asked]:
    """From the first node, at a steady rate, in turn to each of the targets."""
    asked = Asked()
    node = cluster.cluster.node(1)
    command = ["ip", "netns", "exec", node.netns, sys.executable, "-m", "deploy.load", str(RATE), *targets]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        try:
            yield asked
        finally:
            process.terminate()
            said, _ = process.communicate(timeout=60)
        found = json.loads(said)
        asked.sent, asked.failed = found["sent"], found["failed"]


def everywhere(cluster: Dev) -> list[str]:
    """The service's own address, and its port at each node."""
    (endpoints,) = cluster.items("endpoints", "asked")
    (address,) = endpoints["status"]["virtualAddresses"]
    nodes = [cluster.cluster.node(number).address for number in (1, 2, 3)]
    return [f"{address}:80/version", *(f"{node}:30085/version" for node in nodes)]


def test_rolling_updates_drop_no_request(cluster: Dev) -> None:
    cluster.apply(WEB)
    with load(cluster, *everywhere(cluster)) as asked:
        for number in ("2", "4", "1"):
            cluster.apply(WEB.replace("web:1", f"web:{number}"))
        cluster.orchctl("scale", "asked", "--replicas", "2")
        cluster.wait("svc/asked", "jsonpath={.status.running}=2")

    assert asked.failed == []
    assert asked.sent > RATE


def test_a_killed_container_costs_what_was_under_way_and_nothing_later(cluster: Dev) -> None:
    cluster.apply(WEB)
    pid = cluster.tasks("asked")[0]["containers"][0]["pid"]
    with load(cluster, *everywhere(cluster)) as asked:
        killed_at = time.time()
        os.kill(pid, signal.SIGKILL)
        cluster.wait("svc/asked", "jsonpath={.status.ready}=6")
        cluster.apply(WEB.replace("web:1", "web:2"))

    assert [each for each in asked.failed if each["at"] > killed_at + 2] == []
    assert [each for each in asked.failed if "no answer" in each["why"]] == []
    assert [each for each in asked.failed if "refused" in each["why"].lower()] == [], (
        "who came later was led on"
    )
    assert len(asked.failed) < RATE / 10


@pytest.mark.parametrize("part", ["node-1", "control"])
def test_an_agent_or_a_control_plane_that_is_killed_costs_nothing(cluster: Dev, part: str) -> None:
    cluster.apply(WEB)
    word = "orch-agent" if part == "node-1" else "orch-controlplan"
    pid = next(pid for command, pid in cluster.processes(part).items() if word in command)
    with load(cluster, *everywhere(cluster)) as asked:
        os.kill(pid, signal.SIGKILL)
        if part == "node-1":
            cluster.restart_agent("node-1")
        else:
            cluster.restart_control()
        cluster.wait("node/node-1")
        cluster.wait("svc/asked", "jsonpath={.status.ready}=6")

    assert asked.failed == []
