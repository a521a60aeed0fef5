"""One cluster of three nodes serves all tests of this folder; each cleans up its own services."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.support import dev

_NEEDED = ("etcd", "nft", "docker-registry", "busybox")


@pytest.fixture(scope="session")
def cluster() -> Iterator[dev.Dev]:
    missing = [name for name in _NEEDED if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'}")
    with dev.running() as running:
        running.orchctl("label", "node/node-3", "ring=canary")
        for tag in ("1", "2", "3-broken", "4"):
            running.push(f"web:{tag}")
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Services of a test go with it, also when it fails; what failed is shown first."""
    yield
    if "cluster" not in request.fixturenames:
        return
    running: dev.Dev = request.getfixturevalue("cluster")
    running.delete("services", "--all")
