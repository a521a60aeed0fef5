"""A real agent and a scripted control plane."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.agent import tasks
from tests.support import leftovers
from tests.support.agent_node import AgentNode, busybox
from tests.support.scripted import ScriptedControlPlane


@pytest.fixture(autouse=True)
def _own_tasks() -> None:
    tasks.begin_a_life()


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """Also after a failure."""
    yield
    assert leftovers.take_away(tmp_path) == []


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ScriptedControlPlane]:
    async with a_plane(tmp_path) as made:
        yield made


@pytest.fixture
async def idle_node(tmp_path: Path, plane: ScriptedControlPlane) -> AsyncIterator[AgentNode]:
    """Joined and with an image, not started."""
    async with a_node(tmp_path, plane) as made:
        yield made


@pytest.fixture
async def node(idle_node: AgentNode, plane: ScriptedControlPlane) -> AgentNode:
    """Running and connected, with an address range."""
    await connect(idle_node, plane)
    return idle_node


@asynccontextmanager
async def a_plane(directory: Path) -> AsyncIterator[ScriptedControlPlane]:
    made = ScriptedControlPlane(directory)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def a_node(directory: Path, plane: ScriptedControlPlane) -> AsyncIterator[AgentNode]:
    """In the end nothing of it is left on the machine."""
    made = AgentNode(directory)
    made.make()
    try:
        await made.import_image("busybox:1", busybox())
        plane.join(made.state)
        yield made
    finally:
        said = await made.clean()
        print(made.log.read_text() if made.log.exists() else "", said)  # noqa: T201  shown when a test fails
    assert made.leftovers() == []


async def connect(node: AgentNode, plane: ScriptedControlPlane) -> None:
    """Start it, and give it its address range."""
    node.start()
    await node.wait_ready()
    await plane.wait_connected()
    plane.give_range()
