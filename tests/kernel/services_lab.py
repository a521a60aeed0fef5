"""Two nodes and a stranger for tests of services: what the nodes are told, and who asks whom for what."""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from agent.network.attachment import Attached, Peer
from orch.model.assignment import Endpoint, ServiceEndpoints
from orch.model.names import ServiceName, TaskId
from orch.model.network import NetworkSpec, RouteSpec
from orch.model.policy import PortSpec
from tests.kernel.network_lab import Machine, Node, ask, run_in, serving

ADDRESSES = ("192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24")
SUBNETS = ("10.208.4.0/22", "10.208.8.0/22")
WEB = "10.224.0.5"
QUICK_SECONDS = 2
"""Far below any time-out, far above a refusal on a busy machine."""
PUBLISHED = (PortSpec(target=80, published=8080, mode="ingress"),)

ALONE = pytest.mark.usefixtures("alone")
BOTH_WAYS = pytest.mark.parametrize(
    "machines", [True, False], ids=["bridge-filtered", "bridge-unfiltered"], indirect=True
)
"""Whether the machine's bridges pass the IP rules: they do where Docker is."""


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
