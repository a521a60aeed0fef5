"""Virtual addresses between tasks of two nodes: real namespaces, links and packet rules."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.network.attachment import Attached, Peer
from orch.model.assignment import Endpoint, ServiceEndpoints
from orch.model.names import ServiceName
from orch.model.task import TaskId
from tests.kernel import network_lab
from tests.kernel.network_lab import Machine, Node, ask, serving

pytestmark = pytest.mark.root

SUBNETS = ("10.208.4.0/22", "10.208.8.0/22")
WEB = "10.224.0.5"


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


def service(*places: Attached, **options) -> ServiceEndpoints:
    endpoints = tuple(
        Endpoint(TaskId("default", "web", 1, number + 1, 1), "n", place.addresses)
        for number, place in enumerate(places)
    )
    return ServiceEndpoints(ServiceName("default", "web"), endpoints, (WEB,), **options)


@pytest.mark.parametrize(
    "machines", [True, False], ids=["bridge-filtered", "bridge-unfiltered"], indirect=True
)
def test_a_virtual_address_leads_to_every_ready_task_and_the_client_is_seen(nodes: tuple[Node, Node]) -> None:
    here, there, client = nodes[0].attach("a"), nodes[1].attach("b"), nodes[0].attach("client")
    for node in nodes:
        node.set_services(service(here, there))

    with serving(here.netns, 80, "here"), serving(there.netns, 80, "there"):
        answers = {ask(client.netns, WEB, 80) for _ in range(30)}

    assert answers == {f"here {client.addresses[0]}", f"there {client.addresses[0]}"}
