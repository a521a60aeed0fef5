"""One node for all tests of a file, and the control plane that it obeys."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.agent import conftest
from tests.support.agent_node import AgentNode
from tests.support.scripted import ScriptedControlPlane


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(directory: Path) -> AsyncIterator[ScriptedControlPlane]:
    async with conftest.a_plane(directory) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(directory: Path, plane: ScriptedControlPlane) -> AsyncIterator[AgentNode]:
    """One node for all tests here: what the next test does not name is stopped and forgotten."""
    async with conftest.a_node(directory, plane) as made:
        await conftest.connect(made, plane)
        yield made
