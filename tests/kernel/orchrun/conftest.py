"""orchrun, and those beside which it is held, over bundles that are gone after the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel import orchrun_bench
from tests.kernel.orchrun_bench import Bundles, Runtime


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return orchrun_bench.unpack_busybox(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture
def bundles(rootfs: Path, tmp_path: Path) -> Iterator[Bundles]:
    with orchrun_bench.bundles_in(tmp_path / "bundles", rootfs) as made:
        yield made


@pytest.fixture
def orchrun(bundles: Bundles, tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime("orchrun", tmp_path)
    yield made
    made.clean()


@pytest.fixture(params=["runc", "crun"])
def oracle(bundles: Bundles, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    orchrun_bench.need(request.param)
    made = Runtime(request.param, tmp_path)
    yield made
    made.clean()


@pytest.fixture
def runc(bundles: Bundles, tmp_path: Path) -> Iterator[Runtime]:
    orchrun_bench.need("runc")
    made = Runtime("runc", tmp_path)
    yield made
    made.clean()
