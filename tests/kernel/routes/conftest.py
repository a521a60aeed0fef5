"""A proxy for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.kernel import routes_lab
from tests.kernel.routes_lab import Lab


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with routes_lab.lab() as made:
        yield made
