"""`orchctl net check`: a network that is well, and each way in which it may not be, made for real."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import conntrack, dev, live_tree
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {name: seen}
spec:
  image: REGISTRY/web:1
  ports: [{name: http, target: 8080, published: 30777, mode: ingress}]
  readiness: {http: {path: /healthz, port: http}, period: 200ms}
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s, gracePeriod: 1s}
"""


@pytest.fixture(scope="module")
def tunnelled() -> Iterator[Dev]:
    """Two nodes that reach each other's containers through VXLAN only."""
    if os.geteuid() != 0:
        pytest.skip("needs root and nothing else")
    with dev.running(2, "net", ("--network-mode", "vxlan")) as running:
        running.push("web:1")
        yield running


def inside(cluster: Dev, where: str, *command: str) -> str:
    """In the namespace of a node, or of the switch between them."""
    name = f"orch-{cluster.cluster.name}" + (f"-{where}" if where else "")
    done = subprocess.run(
        ["ip", "netns", "exec", name, *command], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def rule(cluster: Dev, where: str, family: str, hook: str, words: str) -> Iterator[None]:
    """A packet rule of somebody else."""
    table = f"table {family} somebody"
    text = f"{table} {{ chain c {{ type filter hook {hook} priority 0; policy accept; {words}\n }}\n}}\n"
    file = cluster.work / "somebody.nft"
    file.write_text(text)
    inside(cluster, where, "nft", "-f", str(file))
    try:
        yield
    finally:
        inside(cluster, where, "nft", "delete", *table.split())


def test_a_network_that_is_well_says_so_and_tries_everything(tunnelled: Dev) -> None:
    tunnelled.apply(SERVICE)
    tunnelled.told("all is well", "net", "check")  # every node's tables know the service in a moment

    found: dict[str, Any] = json.loads(tunnelled.orchctl("net", "check", "-o", "json", errors=False))
    tried = {(each["from"], each["what"], each["to"]): each for each in found["results"]}
    service = "seen.default.orch"
    for node, other in (("node-1", "node-2"), ("node-2", "node-1")):
        for what in ("nodes", "containers", "size", "tcp"):
            assert not tried[node, what, other]["error"]
        assert tried[node, "containers", other]["way"] == "vxlan"
        assert int(tried[node, "size", other]["bytes"]) == int(found["places"][0]["mtu"])
        assert not tried[node, "dns", service]["error"]
        assert not tried[node, "virtual", service]["error"]
        assert not tried[node, "published", f"{service}:30777 at localhost"]["error"]
        assert not tried[node, "published", f"{service}:30777 at {other}"]["error"]
    assert found["problems"] == []
    tunnelled.delete("svc/seen")


def test_a_blocked_vxlan_port_is_named(tunnelled: Dev) -> None:
    with rule(tunnelled, "node-2", "inet", "input", "udp dport 4789 drop"):
        said = tunnelled.orchctl("net", "check", expect=1)
    assert "node-1 ↔ node-2: containers do not reach each other, though the nodes do: UDP port 4789" in said
    assert "containers: no answer" in said
    tunnelled.orchctl("net", "check")


def test_a_wrong_mtu_is_named_with_what_passes(tunnelled: Dev) -> None:
    inside(tunnelled, "", "ip", "link", "set", "port-2", "mtu", "1400")
    try:
        said = tunnelled.orchctl("net", "check", expect=1)
    finally:
        inside(tunnelled, "", "ip", "link", "set", "port-2", "mtu", "1500")
    assert (
        "packets of 1450 bytes between containers do not arrive, small ones do, of 1280 bytes they do" in said
    )
    assert "smaller MTU" in said


def test_lost_packets_are_counted(tunnelled: Dev) -> None:
    words = 'oifname "port-2" meta l4proto { udp, icmp } numgen random mod 100 < 50 drop'
    with rule(tunnelled, "", "bridge", "forward", words):
        said = tunnelled.orchctl("net", "check", expect=1)
    assert "% of the packets are lost (between the nodes themselves)" in said


def test_slow_answers_are_told(tunnelled: Dev) -> None:
    device = ("dev", "orch-vxlan", "root")
    inside(
        tunnelled,
        "node-2",
        "tc",
        "qdisc",
        "add",
        *device,
        *["tbf", "rate", "40kbit", "burst", "200", "latency", "2s"],
    )
    try:
        said = tunnelled.orchctl("net", "check", expect=1)
    finally:
        inside(tunnelled, "node-2", "tc", "qdisc", "del", *device)
    assert "node-1 ↔ node-2: an answer takes" in said


def test_a_full_connection_table_is_named_and_nothing_that_follows_from_it(tunnelled: Dev) -> None:
    script = str(Path(conntrack.__file__))
    try:
        inside(tunnelled, "node-2", sys.executable, script, "fill")
        said = tunnelled.orchctl("net", "check", expect=1)
    finally:
        inside(tunnelled, "node-2", sys.executable, script, "flush")
    assert "node-2: the connection table of the kernel is full" in said
    assert "sysctl -w net.netfilter.nf_conntrack_max=" in said
    assert "4789" not in said


def test_names_that_nobody_answers_are_told(tunnelled: Dev) -> None:
    lock = Path("/run/orch-dev") / tunnelled.cluster.name / "node-2/dns/lock"
    pid = int(lock.read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        said = tunnelled.orchctl("net", "check", expect=1)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "node-2: orch-dns does not answer containers" in said


def test_somebody_elses_firewall_is_suspected(tunnelled: Dev) -> None:
    with rule(tunnelled, "node-2", "ip", "forward", "drop"):
        said = tunnelled.orchctl("net", "check", expect=1)
    assert "node-1 ↔ node-2" in said
    assert "though the nodes do" in said


def test_a_host_that_drops_what_is_forwarded_is_named_at_once_and_no_longer_than_that(tunnelled: Dev) -> None:
    file = tunnelled.work / "wall.nft"
    file.write_text(
        "table ip wall {\n chain FORWARD { type filter hook forward priority 0; policy drop;\n }\n}\n"
    )
    inside(tunnelled, "node-2", "nft", "-f", str(file))
    try:
        said = tunnelled.orchctl("net", "check", expect=1)
    finally:
        inside(tunnelled, "node-2", "nft", "delete", "table", "ip", "wall")
    assert "error: node-2: the host's firewall drops what is forwarded" in said
    assert "4789" not in said
    tunnelled.orchctl("net", "check", expect=0)


def test_a_node_without_contact_is_named_and_the_others_are_checked(tunnelled: Dev) -> None:
    tunnelled.dev("kill", "node-2")
    try:
        said = tunnelled.orchctl("net", "check", expect=1)
    finally:
        tunnelled.dev("start", "node-2")
    assert "node-2 is not connected to the control plane" in said or "node-2 did not answer" in said
    assert "1 problem" in said
    tunnelled.orchctl("wait", "node/node-2", "--for", "status=Ready", "--timeout", "40s")


def test_a_check_leaves_nothing_behind(tunnelled: Dev) -> None:
    before = inside(tunnelled, "node-1", "ip", "-br", "link").count("orch")
    for _ in range(3):
        tunnelled.orchctl("net", "check", expect=None)
    records = Path("/var/lib/orch-dev") / tunnelled.cluster.name / "node-1" / "network"
    deadline = time.monotonic() + dev.PATIENCE_SECONDS
    while left := [path.name for path in live_tree.files(records) if "net-check" in path.name]:
        assert time.monotonic() < deadline, left  # a node answers first, and then takes its place away
        time.sleep(0.1)
    assert inside(tunnelled, "node-1", "ip", "-br", "link").count("orch") <= before + 4
