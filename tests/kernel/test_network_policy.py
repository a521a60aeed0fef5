"""Policy between real network namespaces: two nodes, their tasks, and a stranger."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from agent.network.attachment import Attached, Peer, Published
from orch import wire
from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ServiceName, TaskId
from orch.model.network import NetworkSpec
from tests.kernel import network_lab
from tests.kernel.network_lab import Machine, Node, ask, run_in, serving

pytestmark = pytest.mark.root

SUBNETS = ("10.208.4.0/22", "10.208.8.0/22")


class Cluster:
    """Two nodes that are told the same of services and endpoints."""

    def __init__(self, nodes: tuple[Node, Node], machines: list[Machine]) -> None:
        self.nodes = nodes
        self.machines = machines
        self.places: dict[str, tuple[str, Attached]] = {}
        self.said: dict[str, dict[str, list[str]]] = {}

    def service(self, name: str, **words: list[str]) -> None:
        """`name`: shop/web. From the next `tell` on."""
        self.said[name] = words

    def task(self, service: str, node: int, slot: int = 1) -> Attached:
        """Attached on one of the nodes; others are told by `tell`."""
        key = f"{service}.{slot}"
        self.nodes[node].call("set_owner", key, *service.split("/"))
        found = self.nodes[node].attach(key)
        self.places[key] = (service, found)
        return found

    def tell(self, *nodes: int) -> None:
        section = EndpointSection(Stamp("test", 1, 1, 1), 1, tuple(map(self._told, self.said)))
        message = base64.b64encode(wire.encode(section)).decode()
        for node in nodes or (0, 1):
            self.nodes[node].call("set_services", message)
            self.nodes[node].call("set_policy", message)

    def virtual_address(self, name: str) -> str:
        return f"10.224.0.{list(self.said).index(name) + 1}"

    def _told(self, name: str) -> ServiceEndpoints:
        service = ServiceName(*name.split("/"))
        endpoints = tuple(
            Endpoint(TaskId(*service, 1, slot, 1), "n", each.addresses)
            for slot, (owner, each) in enumerate(self.places.values())
            if owner == name
        )
        return ServiceEndpoints(
            service, endpoints, (self.virtual_address(name),), network=NetworkSpec(**self.said[name])
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with network_lab.lab("192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24") as machines:
        made = [Node(machines[0], tmp_path / "one", SUBNETS[0])]
        try:
            made.append(Node(machines[1], tmp_path / "two", SUBNETS[1]))
            made[0].set_peers(Peer("two", machines[1].address, (SUBNETS[1],)))
            made[1].set_peers(Peer("one", machines[0].address, (SUBNETS[0],)))
            yield Cluster((made[0], made[1]), machines)
        finally:
            for node in made:
                node.end()
        for machine in machines:
            assert "orch" not in machine.run("nft", "list", "ruleset")


def reach(source: Attached, target: Attached, patience_seconds: float = 5) -> str:
    return ask(source.netns, target.addresses[0], 80, "tcp", patience_seconds)


@pytest.mark.parametrize("far", [0, 1])
def test_only_who_is_allowed_reaches_a_service_on_the_same_node_and_on_another(
    cluster: Cluster, far: int
) -> None:
    cluster.service("default/db", allow_from=["svc/web", "ns/shop"])
    for name in ("default/web", "default/evil", "shop/cart"):
        cluster.service(name)
    db = cluster.task("default/db", far)
    tasks = {name: cluster.task(name, 0) for name in ("default/web", "default/evil", "shop/cart")}
    cluster.tell()

    with serving(db.netns, 80, "db"):
        assert reach(tasks["default/web"], db) == f"db {tasks['default/web'].addresses[0]}"
        assert reach(tasks["shop/cart"], db).startswith("db")
        with pytest.raises(AssertionError, match="refused"):
            reach(tasks["default/evil"], db)
        assert ask(cluster.machines[far].netns, db.addresses[0], 80), "its node probes it"
        assert ask(cluster.machines[1 - far].netns, db.addresses[0], 80), "nodes are not tasks"
        assert reach(db, db).startswith("db"), "everybody reaches himself"


@pytest.mark.parametrize("far", [0, 1])
def test_a_service_reaches_only_whom_it_says(cluster: Cluster, far: int) -> None:
    cluster.service("default/web", egress=["svc/db", "192.0.2.3/32"])
    cluster.service("default/db")
    cluster.service("default/other")
    web = cluster.task("default/web", 0)
    db, other = cluster.task("default/db", far), cluster.task("default/other", far)
    stranger = cluster.machines[2]
    cluster.tell()

    with (
        serving(db.netns, 80, "db"),
        serving(other.netns, 80, "other"),
        serving(stranger.netns, 80, "stranger"),
        serving(cluster.machines[0].netns, 81, "node"),
        serving(web.netns, 80, "web"),
    ):
        assert reach(web, db).startswith("db")
        assert ask(web.netns, stranger.address, 80).startswith("stranger")
        with pytest.raises(AssertionError, match="refused"):
            reach(web, other)
        with pytest.raises(AssertionError, match="refused"):
            ask(web.netns, cluster.machines[0].address, 81)
        assert "ready" in _connects(web.netns, "10.208.4.1", 53), "names are always looked up"
        assert reach(other, web).startswith("web"), "answers go out"


def test_a_right_that_is_taken_away_ends_what_stands(cluster: Cluster) -> None:
    cluster.service("default/db", allow_from=["svc/web"])
    cluster.service("default/web")
    db, web = cluster.task("default/db", 1), cluster.task("default/web", 0)
    cluster.tell()

    with echoing(db.netns), Talk(web.netns, db.addresses[0]) as talk:
        assert talk.say("one") == "one"
        cluster.service("default/db", allow_from=[])
        cluster.tell()
        assert talk.say("two") == "ended"
        with pytest.raises(AssertionError, match="refused"):
            _connects(web.netns, db.addresses[0], 80)

        cluster.service("default/db")
        cluster.tell()
        assert "ready" in _connects(web.netns, db.addresses[0], 80)


def test_a_task_has_its_policy_before_anybody_was_told_of_it(cluster: Cluster) -> None:
    cluster.service("default/db", allow_from=["svc/web"])
    cluster.service("default/web")
    cluster.service("default/evil")
    cluster.tell()
    db, evil = cluster.task("default/db", 0), cluster.task("default/evil", 0)
    web, far = cluster.task("default/web", 0), cluster.task("default/web", 1, slot=2)

    with serving(db.netns, 80, "db"):
        with pytest.raises(AssertionError, match="refused"):
            reach(evil, db)
        assert reach(web, db).startswith("db"), "its own node knows it"
        with pytest.raises(AssertionError, match="timed out"):
            reach(far, db, patience_seconds=0.5)  # unknown, not refused: it is let in as soon as it is known
        cluster.tell()
        assert reach(far, db).startswith("db")


def test_a_task_of_a_service_that_is_not_known_yet_is_shut_off(cluster: Cluster) -> None:
    cluster.service("default/open")
    cluster.tell()
    neighbour, new = cluster.task("default/open", 0), cluster.task("default/new", 0)

    with serving(new.netns, 80, "new"), serving(neighbour.netns, 80, "open"):
        for source, target in ((neighbour, new), (new, neighbour)):
            with pytest.raises(AssertionError, match="timed out"):
                reach(source, target, patience_seconds=0.5)
        assert ask(cluster.machines[0].netns, new.addresses[0], 80), "its node probes it"
        cluster.service("default/new")
        cluster.tell()
        assert reach(neighbour, new).startswith("new")
        assert reach(new, neighbour).startswith("open")


def test_while_nobody_has_limits_packets_pass_no_policy(cluster: Cluster) -> None:
    def is_dormant() -> bool:
        return "flags dormant" in cluster.machines[0].run("nft", "list", "table", "ip", "orch-policy")

    cluster.service("default/open")
    cluster.task("default/open", 0)
    cluster.tell()
    assert is_dormant()

    cluster.task("default/new", 0)
    assert not is_dormant(), "it is not known what its service says"
    cluster.service("default/new")
    cluster.tell()
    assert is_dormant()

    cluster.service("default/new", allow_from=[])
    cluster.tell()
    assert not is_dormant()
    cluster.service("default/new")
    cluster.tell()
    assert is_dormant()


def test_what_is_published_is_open_outside_unless_ranges_say_who(cluster: Cluster) -> None:
    cluster.service("default/db", allow_from=[])
    cluster.service("default/evil")
    db, evil = cluster.task("default/db", 0), cluster.task("default/evil", 0)
    cluster.nodes[0].publish("default/db.1", Published("", 8080, 80, "tcp"))
    stranger = cluster.machines[2]
    door = cluster.machines[0].address
    cluster.tell()

    with serving(db.netns, 80, "db"):
        assert ask(stranger.netns, door, 8080).startswith("db")
        with pytest.raises(AssertionError, match="timed out"):
            ask(evil.netns, door, 8080, patience_seconds=0.5)
        run_in(stranger.netns, "ip", "route", "add", SUBNETS[0], "via", door)
        with pytest.raises(AssertionError, match="refused"):
            ask(stranger.netns, db.addresses[0], 80)  # not published there

        cluster.service("default/db", allow_from=["198.51.100.0/24"])
        cluster.tell()
        with pytest.raises(AssertionError, match="timed out"):
            ask(stranger.netns, door, 8080, patience_seconds=0.5)
        cluster.service("default/db", allow_from=["192.0.2.0/28"])
        cluster.tell()
        assert ask(stranger.netns, door, 8080).startswith("db")


def test_the_policy_holds_while_the_agent_is_away_and_after_it_returns(cluster: Cluster) -> None:
    cluster.service("default/db", allow_from=[])
    cluster.service("default/evil")
    db, evil = cluster.task("default/db", 0), cluster.task("default/evil", 0)
    cluster.tell()

    with serving(db.netns, 80, "db"):
        cluster.nodes[0].kill()
        with pytest.raises(AssertionError, match="refused"):
            reach(evil, db)
        cluster.nodes[0].start()
        with pytest.raises(AssertionError, match="refused"):
            reach(evil, db)
        for task in ("default/db.1", "default/evil.1"):
            cluster.nodes[0].call("set_owner", task, *task.rpartition(".")[0].split("/"))
        cluster.tell(0)
        with pytest.raises(AssertionError, match="refused"):
            reach(evil, db)
        assert ask(cluster.machines[0].netns, db.addresses[0], 80)


def test_a_policy_that_somebody_flushed_comes_back(cluster: Cluster) -> None:
    cluster.service("default/db", allow_from=[])
    cluster.service("default/evil")
    db, evil = cluster.task("default/db", 0), cluster.task("default/evil", 0)
    cluster.tell()
    cluster.machines[0].run("nft", "delete", "table", "ip", "orch-policy")

    with serving(db.netns, 80, "db"):
        assert reach(evil, db), "nobody stands in the way"
        assert cluster.nodes[0].call("verify_policy") is False
        with pytest.raises(AssertionError, match="refused"):
            reach(evil, db)
    assert cluster.nodes[0].call("verify_policy") is True


def test_an_address_that_another_task_gets_has_the_others_policy(cluster: Cluster) -> None:
    cluster.service("default/db", allow_from=[])
    cluster.service("default/open")
    cluster.tell()
    db = cluster.task("default/db", 0)
    cluster.tell()
    rules = cluster.machines[0].run("nft", "list", "map", "ip", "orch-policy", "into")
    assert db.addresses[0] in rules

    cluster.nodes[0].call("detach", "default/db.1")
    assert db.addresses[0] not in cluster.machines[0].run("nft", "list", "map", "ip", "orch-policy", "into")


def test_a_virtual_address_refuses_whom_its_service_refuses(cluster: Cluster) -> None:
    cluster.service("default/db", allow_from=["svc/web"])
    cluster.service("default/web", egress=["svc/db"])
    cluster.service("default/evil")
    db, web, evil = (cluster.task(f"default/{name}", 0) for name in ("db", "web", "evil"))
    cluster.tell()

    with serving(db.netns, 80, "db"):
        address = cluster.virtual_address("default/db")
        assert ask(web.netns, address, 80) == f"db {web.addresses[0]}"
        with pytest.raises(AssertionError, match="refused"):
            ask(evil.netns, address, 80)
        with pytest.raises(AssertionError, match="refused"):
            ask(web.netns, cluster.virtual_address("default/evil"), 80)
        cluster.service("default/db")
        cluster.tell()
        assert ask(evil.netns, address, 80).startswith("db")


LISTENER = """
import socket
s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("0.0.0.0", 9999)); s.settimeout(20); print("ready", flush=True)
while True: print(s.recvfrom(99)[1][0], flush=True)
"""
SPOOF = """
import socket, struct, sys
source, target, mac, link = sys.argv[1], sys.argv[2], sys.argv[3], "eth0"
def checksum(data):
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
payload = b"spoofed!"
udp = struct.pack(">HHHH", 999, 9999, 8 + len(payload), 0) + payload
ends = socket.inet_aton(source), socket.inet_aton(target)
head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, *ends)
head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind((link, 0))
own = s.getsockname()[4]
gateway = bytes.fromhex(sys.argv[4].replace(":", ""))
frame = gateway + (bytes.fromhex(mac.replace(":", "")) if mac else own) + b"\\x08\\x00" + head + udp
s.send(frame)
arp = b"\\xff" * 6 + own + b"\\x08\\x06" + struct.pack(">HHBBH", 1, 0x800, 6, 4, 2) + own + socket.inet_aton(source)
s.send(arp + gateway + socket.inet_aton("10.208.4.1"))
"""


def test_a_task_sends_only_as_itself(cluster: Cluster) -> None:
    machine = cluster.machines[0]
    victim, liar = cluster.nodes[0].attach("a"), cluster.nodes[0].attach("b")
    target = cluster.nodes[0].attach("c")
    gateway = _mac(machine.netns, "orch0")
    listener = subprocess.Popen(
        ["nsenter", f"--net={target.netns}", sys.executable, "-S", "-c", LISTENER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert listener.stdout.readline() == "ready\n"

        def send(source: str, mac: str = "") -> None:
            run_in(liar.netns, sys.executable, "-c", SPOOF, source, target.addresses[0], mac, gateway)

        send(victim.addresses[0])
        send(victim.addresses[0], "0a:6f:0a:d0:04:02")
        send("192.0.2.77")
        send(liar.addresses[0])
        assert listener.stdout.readline().strip() == liar.addresses[0], (
            "the first that arrives is the true one"
        )
    finally:
        listener.kill()
        listener.communicate()
    dropped = machine.run("nft", "list", "chain", "bridge", "orch-guard", "checked")
    assert "counter packets 0" not in dropped
    neighbours = machine.run("ip", "neigh", "show", "dev", "orch0")
    assert f"{victim.addresses[0]} lladdr {_mac(liar.netns, 'eth0')}" not in neighbours


def _mac(netns: str, link: str) -> str:
    return str(json.loads(run_in(netns, "ip", "-j", "link", "show", link))[0]["address"])


def _connects(netns: str, address: str, port: int) -> str:
    code = f"import socket; socket.create_connection(({address!r}, {port}), 5).close(); print('ready')"
    return run_in(netns, sys.executable, "-S", "-c", code)


ECHO = """
import socket, threading
s = socket.create_server(("0.0.0.0", 80)); print("ready", flush=True)
def serve(c):
    while d := c.recv(99): c.sendall(d)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""


class echoing:  # noqa: N801  used like serving
    def __init__(self, netns: str) -> None:
        self._process = subprocess.Popen(
            ["nsenter", f"--net={netns}", sys.executable, "-S", "-c", ECHO], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> None:
        assert self._process.stdout.readline() == "ready\n"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


TALK = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80), 10)
for line in sys.stdin:
    try:
        s.sendall(line.encode()); print((s.recv(99) or b"ended").decode().strip(), flush=True)
    except OSError:
        print("ended", flush=True)
"""


class Talk:
    """A connection that stays."""

    def __init__(self, netns: str, address: str) -> None:
        self._process = subprocess.Popen(
            ["nsenter", f"--net={netns}", sys.executable, "-S", "-c", TALK, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def say(self, word: str) -> str:
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
