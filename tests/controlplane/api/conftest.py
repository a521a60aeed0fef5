"""A control plane on a memory store, for each test its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import planes


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[planes.Running]:
    up = await planes.start(tmp_path / "data")
    try:
        yield up
    finally:
        await up.stop()
