"""Names as a container sees them, asked by the programs that people have in containers."""

import contextlib
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dev import PATIENCE_SECONDS, Dev

pytestmark = pytest.mark.cluster

STUB = Path(__file__).parents[1] / "kernel" / "dns_stub.py"
SERVICES = """
apiVersion: orch/v1
kind: Service
metadata: {name: web}
spec:
  image: REGISTRY/web:1
  replicas: 3
  ports: [{name: http, target: 8080, port: 80}]
  readiness: {http: {path: /healthz, port: http}, period: 200ms}
  placement: {maxPerNode: 1}
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s, gracePeriod: 1s}
---
apiVersion: orch/v1
kind: Service
metadata: {name: box}
spec:
  image: REGISTRY/web:1
  placement: {nodeSelector: {ring: canary}}
  extraHosts: ["db.example:192.0.2.7", "node:host-gateway"]
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s, gracePeriod: 1s}
---
apiVersion: orch/v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: orch/v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  image: REGISTRY/web:1
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s, gracePeriod: 1s}
"""
AS_GLIBC = """
import json, socket, sys
for name in sys.argv[1:]:
    try:
        found = sorted({each[4][0] for each in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
    except socket.gaierror as error:
        found = [error.strerror]
    print(json.dumps(found))
"""


@pytest.fixture
def named(cluster: Dev) -> Iterator[Dev]:
    cluster.apply(SERVICES)
    _wait_told(cluster)
    yield cluster
    cluster.orchctl("delete", "namespace/shop", "--timeout", f"{PATIENCE_SECONDS}s", expect=None)


def _wait_told(cluster: Dev) -> None:
    """A node is told of a task a moment after the user is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        tasks, shop = looked_up(cluster, "tasks.web", "tasks.web.shop")
        if tasks == sorted(addresses_of(cluster).values()) and "." in shop[0]:
            return
        assert time.monotonic() < deadline, f"the names never were all there: {tasks}, {shop}"


def said(cluster: Dev, script: str, *service: str) -> str:
    """What a shell prints in a container of the service, the box unless told."""
    return cluster.orchctl("exec", *(service or ("box",)), "--", "sh", "-c", script, errors=False)


def looked_up(cluster: Dev, *names: str) -> list[list[str]]:
    """What glibc's getaddrinfo finds in the box, with the box's own files of names."""
    (task,) = cluster.tasks("box")
    pid = task["containers"][0]["pid"]
    script = ""
    for name in ("hosts", "resolv.conf"):
        (cluster.work / name).write_bytes(Path(f"/proc/{pid}/root/etc/{name}").read_bytes())
        script += f"mount --bind {cluster.work / name} /etc/{name}; "
    script += f'exec nsenter --net=/proc/{pid}/ns/net "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, "sh", sys.executable, "-c", AS_GLIBC, *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def asked(cluster: Dev, name: str, kind: str) -> list[str]:
    """The answer section as dnspython reads it, from within the box's network."""
    (task,) = cluster.tasks("box")
    ask = """
import sys, dns.message, dns.query
query = dns.message.make_query(sys.argv[2], sys.argv[3], use_edns=0)
reply, _ = dns.query.udp_with_fallback(query, sys.argv[1], timeout=9)
print(*sorted(item.to_text() for rrset in reply.answer for item in rrset), sep="\\n")
"""
    command = ["nsenter", f"--net=/proc/{task['containers'][0]['pid']}/ns/net", sys.executable, "-c", ask]
    server = said(cluster, "cat /etc/resolv.conf").split()[1]
    found = subprocess.run([*command, server, name, kind], capture_output=True, text=True, check=True)
    return found.stdout.split("\n")[:-1]


def addresses_of(cluster: Dev) -> dict[str, str]:
    return {task["slot"]: task["addresses"][0] for task in cluster.tasks("web")}


def test_every_name_of_a_service_is_found_from_a_container(named: Dev) -> None:
    slots = addresses_of(named)
    every = sorted(slots.values())

    virtual, full, fuller, tasks, one, one_full, shop, alias, gateway, nobody = looked_up(
        named,
        *("web", "web.default", "web.default.orch", "tasks.web", "1.web", "2.web.default.orch"),
        *("web.shop", "db.example", "node", "nobody.default.orch"),
    )

    assert virtual == full == fuller
    assert len(virtual) == 1
    assert virtual[0] not in every
    assert (sorted(tasks), one, one_full) == (every, [slots["web.1"]], [slots["web.2"]])
    assert len(shop) == 1
    assert shop != virtual
    assert alias == ["192.0.2.7"]
    assert gateway == [said(named, "cat /etc/resolv.conf").split()[1]]
    assert nobody == ["Name or service not known"]


def test_busybox_finds_them_too_and_the_service_answers_there(named: Dev) -> None:
    assert said(named, "wget -q -O- http://web/version; wget -q -O- http://1.web:8080/version") == "1\n1\n"
    slots = addresses_of(named)
    found = said(named, "nslookup tasks.web.default.orch")
    assert all(address in found for address in slots.values())


def test_ports_and_addresses_have_names(named: Dev) -> None:
    slots = addresses_of(named)

    assert asked(named, "_http._tcp.web.default.orch", "SRV") == [
        f"0 10 8080 {slot}.web.default.orch." for slot in (1, 2, 3)
    ]
    assert asked(named, "_http._tcp.vip.web.default.orch", "SRV") == ["0 10 80 web.default.orch."]
    for slot in (1, 2, 3):
        pointer = ipaddress.ip_address(slots[f"web.{slot}"]).reverse_pointer
        assert asked(named, pointer, "PTR") == [f"{slot}.web.default.orch."]


def test_a_container_knows_its_own_name_and_whom_to_ask(named: Dev) -> None:
    (task,) = named.tasks("box")
    hosts = said(named, "cat /etc/hosts").splitlines()

    assert hosts[:2] == ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    assert f"{task['addresses'][0]}\t1.box.default.orch box.1" in hosts
    assert said(named, "hostname; cat /etc/hostname") == "box.1\nbox.1\n"
    assert said(named, "hostname -f") == "1.box.default.orch\n"
    resolving = said(named, "cat /etc/resolv.conf").splitlines()
    assert resolving[1].startswith("search default.orch orch")
    assert (
        said(named, "cat /etc/resolv.conf", "-n", "shop", "web")
        .splitlines()[1]
        .startswith("search shop.orch orch")
    )


@contextlib.contextmanager
def an_upstream(cluster: Dev, node: int, asked_file: Path) -> Iterator[None]:
    """The resolver that this machine's resolv.conf names, in the node's namespace."""
    words = (line.split() for line in Path("/etc/resolv.conf").read_text().splitlines())
    server = next(each[1] for each in words if each[:1] == ["nameserver"])
    netns = cluster.cluster.node(node).netns
    where = ["ip", "-n", netns, "address"]
    added = not ipaddress.ip_address(server).is_loopback
    if added:
        subprocess.run([*where, "add", f"{server}/32", "dev", "lo"], check=True)
    stub = subprocess.Popen(
        ["ip", "netns", "exec", netns, sys.executable, str(STUB), server, str(asked_file)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert stub.stdout
        assert stub.stdout.readline() == "ready\n"
        yield
    finally:
        stub.kill()
        stub.wait()
        if added:
            subprocess.run([*where, "delete", f"{server}/32", "dev", "lo"], check=True)


def test_other_names_are_asked_of_the_nodes_resolver(named: Dev, tmp_path: Path) -> None:
    asked_file = tmp_path / "asked"
    asked_file.write_text("")
    with an_upstream(named, 3, asked_file):
        assert looked_up(named, "www.example", "long.example")[0] == ["203.0.113.5"]
        assert len(asked(named, "long.example", "A")) == 400
    names = set(asked_file.read_text().split())
    assert names == {"www.example.", "long.example."}, "one question each, and none about ours"


def the_one(cluster: Dev, word: str) -> int:
    (found,) = [pid for command, pid in cluster.processes("node-3").items() if word in command]
    return found


def test_names_outlive_the_agent_and_come_back_with_orch_dns(named: Dev) -> None:
    tasks, virtual = looked_up(named, "tasks.web", "web")
    assert tasks == sorted(addresses_of(named).values())
    dns = the_one(named, "agent.network.dns")
    os.kill(the_one(named, "orch-agent"), signal.SIGKILL)
    assert looked_up(named, "tasks.web", "web") == [tasks, virtual]
    named.restart_agent("node-3")
    named.wait("node/node-3")
    assert the_one(named, "agent.network.dns") == dns

    os.kill(dns, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while looked_up(named, "tasks.web", "web") != [sorted(addresses_of(named).values()), virtual]:
        assert time.monotonic() < deadline, "orch-dns did not come back"
    assert the_one(named, "agent.network.dns") != dns
