"""Nodes on links of their own behind a router: containers reach each other through VXLAN, and nothing of it stays."""

import subprocess
import sys

import pytest

from tests.e2e.test_dev import traces
from tests.support import dev
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

WEB = """
apiVersion: orch/v1
kind: Service
metadata: {name: web}
spec:
  image: REGISTRY/web:1
  replicas: 3
  placement: {maxPerNode: 1}
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s, gracePeriod: 1s}
"""


def inside(cluster: Dev, node: int, *command: str) -> str:
    """What `ip` says in a node's namespace."""
    where = cluster.cluster.node(node).netns
    return subprocess.run(["ip", "-n", where, *command], capture_output=True, text=True, check=True).stdout


def fetched(pid: int, address: str) -> str:
    """What a web server says to somebody in the network of a container."""
    fetch = f"import urllib.request as r; print(r.urlopen('http://{address}:8080/version', timeout=10).read().decode())"
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", fetch]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("mode", "neighbour", "stranger"),
    [("auto", "via 10.99.", "dev orch-vxlan"), ("vxlan", "dev orch-vxlan", "dev orch-vxlan")],
)
def test_containers_of_nodes_on_different_links_reach_each_other(
    mode: str, neighbour: str, stranger: str
) -> None:
    options = ("--segments", "2", "--network-mode", mode)
    with dev.running(nodes=3, suffix="v", options=options) as cluster:
        cluster.push("web:1")
        cluster.apply(WEB)
        cluster.wait("service/web")
        tasks = {each["node"]: each for each in cluster.tasks("web")}
        assert sorted(tasks) == ["node-1", "node-2", "node-3"]
        for here in tasks.values():
            for there in tasks.values():
                assert fetched(here["containers"][0]["pid"], there["addresses"][0]) == "1"
        routes = inside(cluster, 1, "route")
        for number, way in ((3, neighbour), (2, stranger)):
            third = tasks[f"node-{number}"]["addresses"][0].rsplit(".", 2)[0]
            assert any(line.startswith(third) and way in line for line in routes.splitlines()), routes
        assert "mtu 1450" in inside(cluster, 1, "link", "show", "orch0")
    assert traces(cluster.cluster.name, cluster.cluster.index) == []
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    assert cluster.cluster.segment(2) not in routes
