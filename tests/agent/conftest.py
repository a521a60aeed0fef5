"""A real agent and a scripted control plane."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.agent_node import AgentNode, busybox
from tests.support.scripted import ScriptedControlPlane


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ScriptedControlPlane]:
    made = ScriptedControlPlane(tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def idle_node(tmp_path: Path, plane: ScriptedControlPlane) -> AsyncIterator[AgentNode]:
    """Joined and with an image, not started."""
    made = AgentNode(tmp_path)
    made.make()
    try:
        await made.import_image("busybox:1", busybox())
        plane.join(made.state)
        yield made
    finally:
        said = await made.clean()
        print(made.log.read_text() if made.log.exists() else "", said)  # noqa: T201  shown when a test fails
    assert made.leftovers() == []


@pytest.fixture
async def node(idle_node: AgentNode, plane: ScriptedControlPlane) -> AgentNode:
    """Running and connected, with an address range."""
    idle_node.start()
    await idle_node.wait_ready()
    await plane.wait_connected()
    plane.give_range()
    return idle_node
