"""Virtual addresses between tasks of two nodes: real namespaces, links and packet rules."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agent.network.attachment import Attached, Peer
from orch.model.assignment import Endpoint, ServiceEndpoints
from orch.model.names import ServiceName, TaskId
from orch.model.network import NetworkSpec
from orch.model.policy import PortSpec
from tests.kernel import network_lab
from tests.kernel.network_lab import Machine, Node, ask, run_in, serving

pytestmark = pytest.mark.root

SUBNETS = ("10.208.4.0/22", "10.208.8.0/22")
WEB = "10.224.0.5"
QUICK_SECONDS = 2
"""Far below any time-out, far above a refusal on a busy machine."""


@pytest.fixture
def machines(request: pytest.FixtureRequest) -> Iterator[list[Machine]]:
    filtered = getattr(request, "param", None)
    with network_lab.lab("192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24", bridge_filter=filtered) as made:
        yield made


@pytest.fixture
def nodes(machines: list[Machine], tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    one = Node(machines[0], tmp_path / "one", SUBNETS[0])
    two = Node(machines[1], tmp_path / "two", SUBNETS[1])
    one.set_peers(Peer("two", machines[1].address, (SUBNETS[1],)))
    two.set_peers(Peer("one", machines[0].address, (SUBNETS[0],)))
    yield one, two
    one.end()
    two.end()


def service(
    *places: Attached,
    name: str = "web",
    address: str = WEB,
    ready: bool = True,
    ports: tuple[PortSpec, ...] = (),
    affinity_seconds: float = 0,
    targets: dict[str, tuple[int, ...]] | None = None,
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
    return ServiceEndpoints(ServiceName("default", name), endpoints, (address,), ports, network)


def tell(nodes: Iterable[Node], *services: ServiceEndpoints) -> None:
    for node in nodes:
        node.set_services(*services)


def refusal(netns: str, host: str, port: int, kind: str = "tcp") -> float:
    """Seconds until the refusal; whoever is not refused, or waits for an answer in vain, fails.

    A datagram of the node itself is refused before it is sent: the kernel calls that EPERM.
    """
    began = time.monotonic()
    with pytest.raises(AssertionError, match="ConnectionRefused|Operation not permitted"):
        ask(netns, host, port, kind)
    return time.monotonic() - began


@contextmanager
def serving_on(kind: str, *places: Attached, port: int = 80) -> Iterator[None]:
    """Each answers with the name of its task."""
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(serving(place.netns, port, place.task, kind))
        yield


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
            answers = {ask(client.netns, WEB, 80, kind) for _ in range(24)}
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
        answers = {ask(machines[0].netns, WEB, 80, kind) for _ in range(24)}

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
        machines[0].run("nft", "flush", "chain", "ip", "orch", "refusing")
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
        assert {ask(client.netns, WEB, 80).split()[0] for _ in range(24)} == {"old", "new"}
        assert {ask(client.netns, WEB, 90).split()[0] for _ in range(12)} == {"new"}
    tell(nodes, service(old, ports=ports, targets={"old": (8081, 0)}))
    assert refusal(client.netns, WEB, 90) < QUICK_SECONDS
