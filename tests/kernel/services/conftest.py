"""Machines and nodes: shared by the tests of a file, but for those that break them."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kernel import network_lab
from tests.kernel.network_lab import Machine, Node
from tests.kernel.services_lab import ADDRESSES, two_nodes


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Machine], tuple[Node, Node]]]:
    """Machines and nodes for all tests but those that break them: to make them takes seconds."""
    with (
        network_lab.lab(*ADDRESSES) as machines,
        two_nodes(machines, tmp_path_factory.mktemp("nodes")) as nodes,
    ):
        yield machines, nodes


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
