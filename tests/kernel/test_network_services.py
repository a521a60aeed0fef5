"""Virtual addresses between tasks of two nodes: real namespaces, links and packet rules."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.network.attachment import Attached, NetworkError, Peer, Published
from orch.model.assignment import Endpoint, ServiceEndpoints
from orch.model.names import ServiceName, TaskId
from orch.model.network import NetworkSpec, RouteSpec
from orch.model.policy import PortSpec
from tests.kernel import network_lab
from tests.kernel.network_lab import Machine, Node, ask, encoded, run_in, serving

pytestmark = pytest.mark.root

SUBNETS = ("10.208.4.0/22", "10.208.8.0/22")
WEB = "10.224.0.5"
QUICK_SECONDS = 2
"""Far below any time-out, far above a refusal on a busy machine."""


ADDRESSES = ("192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Machine], tuple[Node, Node]]]:
    """Machines and nodes for all tests but those that break them: to make them takes seconds."""
    with (
        network_lab.lab(*ADDRESSES) as machines,
        two_nodes(machines, tmp_path_factory.mktemp("nodes")) as nodes,
    ):
        yield machines, nodes


@contextmanager
def two_nodes(machines: list[Machine], folder: Path) -> Iterator[tuple[Node, Node]]:
    one = Node(machines[0], folder / "one", SUBNETS[0])
    two = Node(machines[1], folder / "two", SUBNETS[1])
    try:
        one.set_peers(Peer("two", machines[1].address, (SUBNETS[1],)))
        two.set_peers(Peer("one", machines[0].address, (SUBNETS[0],)))
        yield one, two
    finally:
        for node in (one, two):
            with suppress(Exception):
                node.cleanup()
            node.end()


@pytest.fixture
def alone() -> None:
    """The test breaks its machines: it has them for itself."""


@pytest.fixture
def machines(request: pytest.FixtureRequest) -> Iterator[list[Machine]]:
    """A parameter says whether their bridges pass the IP rules."""
    with ExitStack() as closing:
        if "alone" in request.fixturenames:
            made = closing.enter_context(network_lab.lab(*ADDRESSES))
        else:
            made = request.getfixturevalue("shared")[0]
        if network_lab.BRIDGE_FILTER.exists():
            for machine in made:
                filtered = int(getattr(request, "param", True))
                machine.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={filtered}")
        yield made


@pytest.fixture
def nodes(
    request: pytest.FixtureRequest, machines: list[Machine], tmp_path: Path
) -> Iterator[tuple[Node, Node]]:
    if "alone" in request.fixturenames:
        with two_nodes(machines, tmp_path) as own:
            yield own
        return
    shared_by_all = request.getfixturevalue("shared")[1]
    yield shared_by_all
    for node in shared_by_all:
        node.set_services()
        node.call("detach_many", list(node.attached()))
        node.call("settle")


def service(
    *places: Attached,
    name: str = "web",
    address: str = WEB,
    ready: bool = True,
    ports: tuple[PortSpec, ...] = (),
    affinity_seconds: float = 0,
    targets: dict[str, tuple[int, ...]] | None = None,
    routes: tuple[RouteSpec, ...] = (),
) -> ServiceEndpoints:
    endpoints = tuple(
        Endpoint(
            TaskId("default", name, 1, slot, 1),
            "a node",
            place.addresses,
            ready,
            targets=(targets or {}).get(place.task, ()),
        )
        for slot, place in enumerate(places, 1)
    )
    network = NetworkSpec(session_affinity=affinity_seconds)
    return ServiceEndpoints(ServiceName("default", name), endpoints, (address,), ports, network, routes)


def tell(nodes: Iterable[Node], *services: ServiceEndpoints) -> None:
    for node in nodes:
        node.set_services(*services)


def refusal(netns: str, host: str, port: int, kind: str = "tcp") -> float:
    """Seconds until the refusal; whoever is not refused, or waits for an answer in vain, fails.

    A datagram of the node itself is refused before it is sent: the kernel calls that EPERM.
    """
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"ConnectionRefused|Operation not permitted"):
        ask(netns, host, port, kind)
    return time.monotonic() - began


OFTEN = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(int(sys.argv[4])):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((host, port))
    if kind == "udp": s.send(b"hello")
    data = b""
    while piece := s.recv(999):
        data += piece
        if kind == "udp": break
    print(data.decode())
"""


def ask_often(netns: str, host: str, port: int, times: int, kind: str = "tcp") -> list[str]:
    """As `ask`, each time from a port of its own."""
    return run_in(netns, sys.executable, "-S", "-c", OFTEN, kind, host, str(port), str(times)).splitlines()


@contextmanager
def serving_on(kind: str, *places: Attached, port: int = 80) -> Iterator[None]:
    """Each answers with the name of its task."""
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(serving(place.netns, port, place.task, kind))
        yield


ALONE = pytest.mark.usefixtures("alone")
BOTH_WAYS = pytest.mark.parametrize(
    "machines", [True, False], ids=["bridge-filtered", "bridge-unfiltered"], indirect=True
)
"""Whether the machine's bridges pass the IP rules: they do where Docker is."""


@BOTH_WAYS
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_virtual_address_leads_to_every_ready_task_and_the_client_is_seen(
    nodes: tuple[Node, Node], kind: str
) -> None:
    here, there = nodes[0].attach("here"), nodes[1].attach("there")
    clients = [nodes[0].attach("near"), nodes[1].attach("far")]
    tell(nodes, service(here, there))

    with serving_on(kind, here, there):
        for client in clients:
            answers = set(ask_often(client.netns, WEB, 80, 24, kind))
            assert answers == {f"here {client.addresses[0]}", f"there {client.addresses[0]}"}


@BOTH_WAYS
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_task_reaches_itself_through_its_own_virtual_address(nodes: tuple[Node, Node], kind: str) -> None:
    task = nodes[0].attach("web")
    tell(nodes, service(task))

    with serving_on(kind, task):
        assert ask(task.netns, WEB, 80, kind) == "web 10.208.4.1"


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_the_node_itself_reaches_a_virtual_address_as_a_member_of_the_cluster(
    nodes: tuple[Node, Node], machines: list[Machine], kind: str
) -> None:
    here, there = nodes[0].attach("here"), nodes[1].attach("there")
    tell(nodes, service(here, there))

    with serving_on(kind, here, there):
        answers = set(ask_often(machines[0].netns, WEB, 80, 24, kind))

    assert answers == {"here 10.208.4.1", "there 10.208.4.1"}


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_virtual_address_without_a_ready_task_refuses_at_once(
    nodes: tuple[Node, Node], machines: list[Machine], kind: str
) -> None:
    node = nodes[0]
    task, client = node.attach("web"), node.attach("client")
    node.set_services(service(task, ready=False))

    with serving_on(kind, task):
        assert refusal(client.netns, WEB, 80, kind) < QUICK_SECONDS
        assert refusal(machines[0].netns, WEB, 80, kind) < QUICK_SECONDS
        node.set_services(service(task))
        assert ask(client.netns, WEB, 80, kind).startswith("web")
        assert ask(machines[0].netns, WEB, 80, kind).startswith("web")


@ALONE
def test_an_address_that_no_service_has_is_refused_and_never_leaves_the_node(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    node, client = nodes[0], nodes[0].attach("client")
    machines[0].run("ip", "route", "add", "default", "via", machines[2].address)
    machines[2].run("ip", "address", "add", "10.224.9.9/32", "dev", "lo")
    node.set_services()

    with serving(machines[2].netns, 80, "stranger"):
        for kind in ("tcp", "udp"):
            assert refusal(client.netns, "10.224.9.9", 80, kind) < QUICK_SECONDS
            assert refusal(machines[0].netns, "10.224.9.9", 80, kind) < QUICK_SECONDS
        machines[0].run("ip", "route", "delete", "10.224.0.0/16")
        machines[0].run("nft", "flush", "chain", "ip", "orch", "passing")
        assert ask(client.netns, "10.224.9.9", 80).startswith("stranger"), "the rules are what kept it in"


def test_a_ping_of_a_virtual_address_is_answered_by_a_task_or_refused(nodes: tuple[Node, Node]) -> None:
    task, client = nodes[0].attach("web"), nodes[0].attach("client")
    nodes[0].set_services(service(task))
    run_in(client.netns, "busybox", "ping", "-c1", "-W2", WEB)

    nodes[0].set_services(service())
    assert "100% packet loss" in run_in(client.netns, "busybox", "ping", "-c1", "-W1", WEB, check=False)


def test_a_port_may_have_another_number_inside_and_another_in_each_revision(nodes: tuple[Node, Node]) -> None:
    old, new, client = nodes[0].attach("old"), nodes[1].attach("new"), nodes[0].attach("client")
    ports = (PortSpec(target=8080, port=80), PortSpec(target=9000, port=90))
    tell(nodes, service(old, new, ports=ports, targets={"old": (8081, 0)}))

    with (
        serving_on("tcp", new, port=8080),
        serving_on("tcp", old, port=8081),
        serving_on("tcp", new, port=9000),
    ):
        assert {each.split()[0] for each in ask_often(client.netns, WEB, 80, 24)} == {"old", "new"}
        assert {each.split()[0] for each in ask_often(client.netns, WEB, 90, 12)} == {"new"}
    tell(nodes, service(old, ports=ports, targets={"old": (8081, 0)}))
    assert refusal(client.netns, WEB, 90) < QUICK_SECONDS


def test_a_client_stays_with_its_task_until_that_leaves_and_the_others_stay(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    tasks = [nodes[number % 2].attach(f"task{number}") for number in range(4)]
    clients = [nodes[0].attach(f"client{number}") for number in range(4)]
    ports = (PortSpec(target=80, published=8080, mode="ingress"), PortSpec(target=80, port=8000))

    def choices() -> dict[str, set[str]]:
        return {
            f"{client.task} at {host}:{port}": {
                each.split()[0] for each in ask_often(client.netns, host, port, 6)
            }
            for client in clients
            for host, port in ((WEB, 80), (WEB, 8000), (machines[0].address, 8080))
        }

    with serving_on("tcp", *tasks):
        tell(nodes, service(*tasks, ports=ports, affinity_seconds=600))
        before = choices()
        assert all(len(chosen) == 1 for chosen in before.values())
        leaving = next(iter(before[f"client0 at {WEB}:80"]))
        rest = [task for task in tasks if task.task != leaving]
        tell(nodes, service(*rest, ports=ports, affinity_seconds=600))
        after = choices()
        assert all(len(chosen) == 1 for chosen in after.values())
        assert {name for name in before if after[name] != before[name]} == {
            name for name, chosen in before.items() if chosen == {leaving}
        }
        tell(nodes, service(*tasks, ports=ports, affinity_seconds=600))
        assert choices() == after, "who stays is not moved by those that come"


def test_without_affinity_a_client_meets_all_tasks_alike(nodes: tuple[Node, Node]) -> None:
    tasks, client = [nodes[0].attach(f"task{number}") for number in range(3)], nodes[1].attach("client")
    tell(nodes, service(*tasks))

    with serving_on("tcp", *tasks):
        answers = Counter(ask_often(client.netns, WEB, 80, 150))

    assert len(answers) == 3
    assert min(answers.values()) > 20, "of 50 each: less happens once in 10 million runs"


PUBLISHED = (PortSpec(target=80, published=8080, mode="ingress"),)


def refused_by(node: Node) -> bool:
    """Whether a refusal is kept back there."""
    return "elements" in node.machine.run(
        "sh", "-c", "nft list set ip orch refused || nft list set ip orch-next refused"
    )


@BOTH_WAYS
@pytest.mark.parametrize("client", ["task beside", "task elsewhere", "the node", "outside"])
def test_who_came_to_a_task_that_has_just_died_is_led_to_another_at_the_second_try(
    nodes: tuple[Node, Node], machines: list[Machine], client: str
) -> None:
    """The tables know of a death some milliseconds after it: until then the dead one's refusal is not passed on."""
    dead, live = nodes[0].attach("dead"), nodes[1].attach("live")
    host, port, asked = WEB, 80, nodes[0]
    match client:
        case "task beside":
            netns = nodes[0].attach("client").netns
        case "task elsewhere":
            netns, asked = nodes[1].attach("client").netns, nodes[1]
        case "the node":
            netns = machines[0].netns
        case _:
            netns, host, port = machines[2].netns, machines[0].address, 8080

    def led() -> str:
        """A second is long, but not on every machine long enough."""
        tell(nodes, service(dead, ports=PUBLISHED))
        asked.machine.run("sh", "-c", "nft flush set ip orch refused || nft flush set ip orch-next refused")
        asking = pool.submit(ask, netns, host, port)
        deadline = time.monotonic() + 30
        while not refused_by(asked):
            assert time.monotonic() < deadline
            assert not asking.done(), asking.result()
        tell(nodes, service(live, ports=PUBLISHED))
        return asking.result()

    with ThreadPoolExecutor(1) as pool, serving_on("tcp", live):
        for _ in range(5):
            with suppress(AssertionError):
                assert led().startswith("live")
                return
        assert led().startswith("live")


def test_a_task_that_goes_on_refusing_is_believed(nodes: tuple[Node, Node], machines: list[Machine]) -> None:
    task, client = nodes[0].attach("web"), nodes[1].attach("client")
    tell(nodes, service(task))

    assert refusal(client.netns, WEB, 4444) < 4
    assert refusal(client.netns, task.addresses[0], 4444) < 1, "nobody led there"


@BOTH_WAYS
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_published_port_leads_from_any_node_to_any_task(
    nodes: tuple[Node, Node], machines: list[Machine], kind: str
) -> None:
    """A client keeps its address where the task is on the node that it asked, and inside the cluster."""
    here, there = nodes[0].attach("here"), nodes[1].attach("there")
    ports = (PortSpec(target=80, published=8080, mode="ingress", protocol=kind),)
    tell(nodes, service(here, there, ports=ports))
    one, two, outside = machines

    with serving_on(kind, here, there):
        seen_from = {
            "outside": ask_often(outside.netns, one.address, 8080, 24, kind),
            "outside, the other node": ask_often(outside.netns, two.address, 8080, 24, kind),
            "localhost": ask_often(one.netns, "127.0.0.1", 8080, 24, kind),
            "the node's address": ask_often(one.netns, one.address, 8080, 24, kind),
            "a task of that node": ask_often(here.netns, one.address, 8080, 24, kind),
        }

    assert {each: set(answers) for each, answers in seen_from.items()} == {
        "outside": {f"here {outside.address}", "there 10.208.4.1"},
        "outside, the other node": {"here 10.208.8.1", f"there {outside.address}"},
        "localhost": {"here 10.208.4.1", "there 10.208.4.1"},
        "the node's address": {f"here {one.address}", "there 10.208.4.1"},
        "a task of that node": {"here 10.208.4.1", f"there {here.addresses[0]}"},
    }


def test_a_node_without_a_task_of_the_service_leads_to_the_others(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    there = nodes[1].attach("there")
    tell(nodes, service(there, ports=PUBLISHED))

    with serving_on("tcp", there):
        assert ask(machines[0].netns, "127.0.0.1", 8080) == "there 10.208.4.1"
        assert ask(machines[2].netns, machines[0].address, 8080) == "there 10.208.4.1"
    tell(nodes, service(there, ready=False, ports=PUBLISHED))
    assert refusal(machines[2].netns, machines[0].address, 8080) < QUICK_SECONDS


@ALONE
def test_what_lets_localhost_out_lets_nobody_in(nodes: tuple[Node, Node], machines: list[Machine]) -> None:
    there = nodes[1].attach("there")
    tell(nodes, service(there, ports=PUBLISHED))
    stranger = machines[2]
    stranger.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    stranger.run("ip", "route", "delete", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
    stranger.run("ip", "route", "add", "127.0.0.9/32", "via", machines[0].address)

    with serving(machines[0].netns, 99, "private", host="127.0.0.9"):
        with pytest.raises(AssertionError, match="timed out"):
            ask(stranger.netns, "127.0.0.9", 99, patience_seconds=0.5)
        machines[0].run("nft", "flush", "chain", "ip", "orch", "coming")
        assert ask(stranger.netns, "127.0.0.9", 99).startswith("private"), "the guard is what kept it out"


def test_a_port_published_on_one_address_is_open_on_no_other(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    task = nodes[1].attach("web")
    tell(
        nodes,
        service(task, ports=(PortSpec(target=80, published=8080, mode="ingress", host_ip="127.0.0.1"),)),
    )

    with serving_on("tcp", task):
        for machine in machines[:2]:
            assert ask(machine.netns, "127.0.0.1", 8080).startswith("web")
            assert refusal(machines[2].netns, machine.address, 8080) < QUICK_SECONDS


def test_a_port_that_a_process_of_one_node_has_is_named_there_and_open_elsewhere(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    task = nodes[0].attach("web")
    other = service(
        task, name="other", address="10.224.0.6", ports=(PortSpec(target=80, published=8081, mode="ingress"),)
    )

    with serving_on("tcp", task):
        with serving(machines[0].netns, 8080, "process"):
            tell(nodes, service(task, ports=PUBLISHED), other)
            assert ask(machines[2].netns, machines[0].address, 8080).startswith("process")
            assert ask(machines[2].netns, machines[0].address, 8081).startswith("web")
            assert ask(machines[2].netns, machines[1].address, 8080).startswith("web")
            assert "port *:8080/tcp" in " ".join(nodes[0].call("problems"))
            assert nodes[1].call("problems") == []
        tell(nodes, service(task, ports=PUBLISHED), other)
        assert nodes[0].call("problems") == []
        assert ask(machines[2].netns, machines[0].address, 8080).startswith("web")


def test_where_routes_are_served_a_published_port_is_not_led_away(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    """Whichever came first; the lab's nodes serve routes on port 8070."""
    task, door = nodes[0].attach("web"), (PortSpec(target=80, published=8070, mode="ingress"),)
    published = service(task, ports=door)
    routed = service(task, name="shop", address="10.224.0.6", routes=(RouteSpec(host="a.test"),))

    with serving_on("tcp", task), serving(machines[1].netns, 8070, "proxy"):
        tell(nodes, published)
        assert ask(machines[2].netns, machines[0].address, 8070).startswith("web")
        tell(nodes, published, routed)
        assert ask(machines[2].netns, machines[1].address, 8070).startswith("proxy")
        refusal(machines[2].netns, machines[0].address, 8070)
        assert "this node serves HTTP routes there" in " ".join(nodes[0].call("problems"))
        with pytest.raises(NetworkError, match="this node serves HTTP routes there"):
            nodes[0].publish("web", Published("", 8070, 80, "tcp"))
        tell(nodes, published)
        assert ask(machines[2].netns, machines[0].address, 8070).startswith("web")
        assert nodes[0].call("problems") == []


LINE_CLIENT = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((host, port))
for line in sys.stdin:
    try:
        s.send(line.encode())
        data = s.recv(999).decode()
        print(data.strip() if data else "closed", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""
ECHO_SERVER = """
import socket, sys, threading
kind, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.bind(("0.0.0.0", port))
def serve(c):
    while data := c.recv(999): c.sendall(name + b"\\n")
if kind == "tcp":
    s.listen()
    print("ready", flush=True)
    while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
print("ready", flush=True)
while True:
    _, who = s.recvfrom(999)
    s.sendto(name + b"\\n", who)
"""


@contextmanager
def program(netns: str, script: str, *arguments: object) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-S", "-c", script, *map(str, arguments)]
    process = subprocess.Popen(
        ["nsenter", f"--net={netns}", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@contextmanager
def echoing(kind: str, *places: Attached) -> Iterator[None]:
    with ExitStack() as stack:
        for place in places:
            echo = stack.enter_context(program(place.netns, ECHO_SERVER, kind, 80, place.task))
            assert echo.stdout.readline() == "ready\n"
        yield


def say(client: subprocess.Popen) -> str:
    """Who answers on the client's open socket."""
    client.stdin.write("hello\n")
    client.stdin.flush()
    return client.stdout.readline().strip()


def test_connections_of_a_leaving_task_go_on_and_no_new_one_comes(nodes: tuple[Node, Node]) -> None:
    leaving, staying, client = (
        nodes[0].attach("leaving"),
        nodes[1].attach("staying"),
        nodes[1].attach("client"),
    )
    tell(nodes, service(leaving))

    with echoing("tcp", leaving, staying), program(client.netns, LINE_CLIENT, "tcp", WEB, 80) as connection:
        assert say(connection) == "leaving"
        left = replace(service(leaving, staying), endpoints=leaves(service(leaving, staying), leaving))
        tell(nodes, left)
        assert say(connection) == "leaving"
        with serving_on("tcp", staying, leaving, port=81):
            assert {each.split()[0] for each in ask_often(client.netns, WEB, 81, 30)} == {"staying"}
        assert say(connection) == "leaving"


def leaves(whole: ServiceEndpoints, place: Attached) -> tuple[Endpoint, ...]:
    return tuple(
        replace(each, ready=False) if each.addresses == place.addresses else each for each in whole.endpoints
    )


@pytest.mark.parametrize("where", ["virtual address", "published port", "published port of the task's node"])
def test_a_client_of_udp_moves_when_its_task_leaves(
    nodes: tuple[Node, Node], machines: list[Machine], where: str
) -> None:
    one, two, client = nodes[0].attach("one"), nodes[1].attach("two"), nodes[1].attach("client")
    ports = (PortSpec(target=80, published=8080, mode="ingress", protocol="udp"),)
    tell(nodes, service(one, ports=ports))
    netns, host, port = {
        "virtual address": (client.netns, WEB, 80),
        "published port": (machines[2].netns, machines[1].address, 8080),
        "published port of the task's node": (machines[2].netns, machines[0].address, 8080),
    }[where]

    with echoing("udp", one, two), program(netns, LINE_CLIENT, "udp", host, port) as flow:
        assert say(flow) == "one"
        tell(nodes, service(two, ports=ports))
        assert say(flow) == "two"
        tell(nodes, service(one, two, ports=ports))
        assert say(flow) == "two", "nobody moves without need"


@ALONE  # the kernel says only now and then that nobody listens
def test_a_flow_that_came_before_the_port_was_published_is_led_once_it_is(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    task = nodes[0].attach("web")
    ports = (PortSpec(target=80, published=8080, mode="ingress", protocol="udp"),)

    with (
        echoing("udp", task),
        program(machines[2].netns, LINE_CLIENT, "udp", machines[0].address, 8080) as flow,
    ):
        assert say(flow) == "ConnectionRefusedError"
        tell(nodes, service(task, ports=ports))
        assert say(flow) == "web"


@BOTH_WAYS
def test_clients_of_a_task_that_died_are_told_so(nodes: tuple[Node, Node], machines: list[Machine]) -> None:
    """Its node lost, say: nobody there can tell them."""
    dead, client = nodes[0].attach("dead"), nodes[1].attach("client")
    tell(nodes, service(dead, ports=PUBLISHED))

    with (
        echoing("tcp", dead),
        program(client.netns, LINE_CLIENT, "tcp", WEB, 80) as inside,
        program(machines[2].netns, LINE_CLIENT, "tcp", machines[1].address, 8080) as outside,
        program(machines[1].netns, LINE_CLIENT, "tcp", WEB, 80) as host,
    ):
        assert [say(each) for each in (inside, outside, host)] == ["dead"] * 3
        machines[0].run(
            "nft", "table ip lost { chain lose { type filter hook prerouting priority raw; policy drop; }; }"
        )
        nodes[1].set_services(service(ports=PUBLISHED))
        assert [say(each) for each in (inside, outside, host)] == ["ConnectionResetError"] * 3
        machines[0].run("nft", "delete table ip lost")
        nodes[1].set_services(service(dead, ports=PUBLISHED))
        with program(client.netns, LINE_CLIENT, "tcp", WEB, 80) as again:
            assert say(again) == "dead", "an address that is used again is used"


def test_killed_again_and_again_while_services_change_no_request_fails(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    """The agent, at moments of chance; the kernel goes on, and who comes back finds what was there."""
    node = nodes[0]
    tasks, client = (
        [nodes[number % 2].attach(f"task{number}") for number in range(3)],
        nodes[1].attach("client"),
    )
    tell(nodes, service(*tasks, ports=PUBLISHED))
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)

    with (
        serving_on("tcp", *tasks),
        program(client.netns, ASKING, WEB, 80) as inside,
        program(machines[2].netns, ASKING, machines[0].address, 8080) as outside,
    ):
        for round_ in range(5):
            node.send(
                "set_services_many",
                [encoded(service(*chance.sample(tasks, 2), ports=PUBLISHED)) for _ in range(20)],
            )
            with suppress(subprocess.TimeoutExpired):  # the wait is the point, nothing is waited for
                node.process.wait(chance.uniform(0.0, 0.05))
            node.kill()
            node.start()
            if round_ % 2:
                node.set_services(service(*tasks, ports=PUBLISHED))
        asked = [ended(each) for each in (inside, outside)]
    assert all(count > 20 and not failures for count, failures in asked), f"{asked}, seed {seed}"


ASKING = """
import json, select, socket, sys
count, failures = 0, []
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as s:
            assert s.recv(99).startswith(b"task"), "empty"
    except Exception as error:
        failures.append(repr(error))
    count += 1
print(json.dumps([count, failures]))
"""


def ended(asking: subprocess.Popen) -> list:
    """How many requests there were, and what failed."""
    asking.stdin.write("enough\n")
    asking.stdin.flush()
    return json.loads(asking.stdout.readline())


@ALONE
def test_an_agent_that_returns_finds_its_tables_and_writes_nothing(nodes: tuple[Node, Node]) -> None:
    node = nodes[0]
    tasks = [node.attach(f"task{number}") for number in range(3)]
    whole = [
        service(*tasks, ports=PUBLISHED),
        service(tasks[0], name="other", address="10.224.0.6", affinity_seconds=60),
    ]
    node.set_services(*whole)
    before = rules_of(node)
    node.kill()
    node.start()
    assert rules_of(node) == before

    node.set_services(*whole)
    assert rules_of(node) == before, "handles and all"
    node.set_services(service(*tasks[1:], ports=PUBLISHED))
    assert "10.224.0.6" not in rules_of(node)


def rules_of(node: Node) -> str:
    return node.machine.run("nft", "-a", "list", "table", "ip", "orch")


@ALONE
def test_rules_of_another_version_are_replaced_without_a_gap(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    node, task = nodes[0], nodes[0].attach("task")
    node.publish("task", Published("", 9090, 80, "tcp"))
    node.set_services(service(task, ports=PUBLISHED, affinity_seconds=60))
    mark = next(word for word in rules_of(node).split() if word.startswith("version-"))
    node.kill()
    node.machine.run("nft", "rename", "chain", "ip", "orch", mark, "version-of-yesterday")

    with serving_on("tcp", task), program(machines[2].netns, ASKING, machines[0].address, 8080) as asking:
        node.start()
        tables = node.machine.run("nft", "list", "tables")
        assert "orch-next" in tables
        assert "ip orch\n" not in tables
        assert ask(machines[2].netns, machines[0].address, 9090).startswith("task")
        assert ask(machines[0].netns, WEB, 80).startswith("task")
        assert ended(asking)[1] == []


@ALONE
def test_a_host_that_flushed_its_rules_gets_ours_again_with_the_next_change(nodes: tuple[Node, Node]) -> None:
    node, task, client = nodes[0], nodes[0].attach("web"), nodes[0].attach("client")
    node.set_services(service(task))
    node.machine.run("nft", "flush", "ruleset")
    node.set_services(service(task), service(task, name="other", address="10.224.0.6"))

    with serving_on("tcp", task):
        assert ask(client.netns, WEB, 80).startswith("web")
        assert ask(client.netns, "10.224.0.6", 80).startswith("web")


@ALONE
def test_cleanup_takes_route_rules_and_settings_away(machines: list[Machine], tmp_path: Path) -> None:
    before = machines[0].picture()
    node = Node(machines[0], tmp_path / "one", SUBNETS[0])
    try:
        node.set_services(service(node.attach("web"), ports=PUBLISHED))
        assert machines[0].run("sysctl", "-n", "net.ipv4.conf.all.route_localnet") == "1\n"
    finally:
        node.cleanup()

    assert machines[0].picture() == before
    assert machines[0].run("sysctl", "-n", "net.ipv4.conf.all.route_localnet") == "0\n"


@ALONE
@pytest.mark.parametrize("event", ["another version", "a flush"])
def test_what_cleanup_sets_back_is_remembered_over(
    machines: list[Machine], tmp_path: Path, event: str
) -> None:
    machine, setting = machines[0], "net.ipv4.conf.all.route_localnet"
    node = Node(machine, tmp_path / "one", SUBNETS[0])
    try:
        task = node.attach("web")
        node.set_services(service(task, ports=PUBLISHED))
        if event == "a flush":
            machine.run("nft", "flush", "ruleset")
            node.set_services(service(task, ports=PUBLISHED), service(task, name="o", address="10.224.0.6"))
        else:
            mark = next(word for word in rules_of(node).split() if word.startswith("version-"))
            node.kill()
            machine.run("nft", "rename", "chain", "ip", "orch", mark, "version-of-yesterday")
            node.start()
            node.set_services(service(task, ports=PUBLISHED))
        assert machine.run("sysctl", "-n", setting) == "1\n"
    finally:
        node.cleanup()

    assert machine.run("sysctl", "-n", setting) == "0\n"


FIREWALLS = {
    "Docker": (
        "iptables",
        "-N DOCKER-USER; -P FORWARD DROP; -A FORWARD -j DOCKER-USER",
        "iptables -I DOCKER-USER",
    ),
    "ufw": (
        "iptables",
        "-N ufw-user-forward; -P FORWARD DROP; -A FORWARD -j ufw-user-forward",
        "ufw route allow",
    ),
    "iptables-legacy": ("iptables-legacy", "-P FORWARD DROP", "iptables -I FORWARD"),
}


@ALONE
@pytest.mark.parametrize("firewall", FIREWALLS)
def test_a_firewall_of_the_host_that_drops_what_is_forwarded_is_named_and_what_helps_helps(
    nodes: tuple[Node, Node], machines: list[Machine], firewall: str
) -> None:
    program_, commands, remedy = FIREWALLS[firewall]
    node, task, client = nodes[0], nodes[0].attach("web"), nodes[1].attach("client")
    tell(nodes, service(task))
    assert node.call("problems") == []
    for command in commands.split("; "):
        machines[0].run(program_, *command.split())
    with serving_on("tcp", task):
        with pytest.raises(AssertionError, match="timed out"):
            ask(client.netns, WEB, 80, patience_seconds=0.5)
        node.call("look_around")
        [problem] = node.call("problems")
        assert remedy in problem
        if firewall != "ufw":  # which is not installed here
            for command in problem.partition("`")[2].partition("`")[0].split(" && "):
                machines[0].run(program_, *command.split()[1:])
            assert ask(client.netns, WEB, 80).startswith("web")
            node.call("look_around")
            assert node.call("problems") == []


@ALONE
def test_a_firewalld_that_does_not_know_the_bridge_is_named(nodes: tuple[Node, Node]) -> None:
    nodes[0].machine.run(
        "nft",
        "table inet firewalld { chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; "
        "reject with icmpx admin-prohibited; }; }",
    )
    nodes[0].call("look_around")

    assert "firewall-cmd --permanent --zone=trusted" in nodes[0].call("problems")[0]


@ALONE
def test_flushed_rules_come_back_when_the_agent_looks_around(nodes: tuple[Node, Node]) -> None:
    node, task, client = nodes[0], nodes[0].attach("web"), nodes[0].attach("client")
    node.set_services(service(task))
    node.machine.run("nft", "flush", "ruleset")
    node.call("look_around")

    with serving_on("tcp", task):
        assert ask(client.netns, WEB, 80).startswith("web")
