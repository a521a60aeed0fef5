"""Machines of two rooms for each test."""

from collections.abc import Iterator

import pytest

from tests.kernel import routed_lab
from tests.kernel.network_lab import Machine
from tests.kernel.overlay_lab import ADDRESSES


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    with routed_lab.rooms(*ADDRESSES, ipv6=True) as made:
        yield made
