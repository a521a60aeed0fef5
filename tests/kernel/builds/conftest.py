"""A yard for each test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.builds.executing import Hands
from tests.support.yard import NoNetwork, Yard, opened


@pytest.fixture
async def yard(bench: Any, tmp_path: Path) -> AsyncIterator[Yard]:
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    async with opened(tmp_path) as images:
        yield Yard(tmp_path, images, Hands(bench.runtime, NoNetwork, secrets))
