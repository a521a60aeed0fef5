"""An unchanged line costs nothing; what no build uses goes."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from agent.builds import workshop
from agent.builds.cache import Cache
from agent.builds.workshop import Workshop
from tests.support.yard import BUSYBOX, Yard

pytestmark = pytest.mark.root


async def test_an_unchanged_line_costs_nothing(yard: Yard) -> None:
    yard.file("a", "1")
    yard.file("b", "1")
    dockerfile = f"FROM {BUSYBOX}\nCOPY a /a\nRUN echo $RANDOM > /r\nCOPY b /b\nRUN true\n"
    first = await yard.build(dockerfile)
    again = await yard.build(dockerfile)
    assert (again.layers, yard.cached) == (first.layers, 4)

    yard.file("b", "2")
    later = await yard.build(dockerfile)
    assert (later.layers[:3], yard.cached) == (first.layers[:3], 2)

    os.utime(yard.context / "a", (1, 1))
    await yard.build(dockerfile)
    assert yard.cached == 4

    await yard.build(dockerfile, use_cache=False)
    assert yard.cached == 0


async def test_the_cache_outlives_the_agent(yard: Yard, tmp_path: Path) -> None:
    dockerfile = f"FROM {BUSYBOX}\nRUN echo x > /x\n"
    first = await yard.build(dockerfile)
    yard.images._library.remove(first.digest)

    yard.cache = Cache(tmp_path / "cache", yard.images._library, yard.workshop.blobs)
    yard.images.hold(yard.cache.open())
    assert (await yard.build(dockerfile)).layers == first.layers
    assert yard.cached == 1


async def test_a_build_that_is_all_from_the_cache_needs_no_helper(yard: Yard) -> None:
    yard.file("a", "1")
    dockerfile = f"""
    FROM {BUSYBOX} AS one
    COPY a /a
    RUN echo x > /x
    FROM {BUSYBOX}
    WORKDIR /w
    COPY --from=one /x /a /
    RUN --mount=type=bind,from=one,target=/one cat /one/x
    """
    first = await yard.build(dockerfile)

    async def ask(kind: str, **_: Any) -> dict[str, Any]:
        raise AssertionError(f"the helper was asked to {kind}")

    yard.workshop.ask = ask  # type: ignore[method-assign]
    assert (await yard.build(dockerfile)).digest == first.digest


def test_what_no_build_used_for_long_goes(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    shop.open()
    for name in ("old", "fresh"):
        (shop.blobs / name).write_text(name)
        (shop.caches / name).mkdir()
        (shop.caches / name / "file").write_text("x")
    for place in (shop.blobs, shop.caches):
        os.utime(place / "old", (1, 1))
    shop.tidy()
    assert [each.name for place in (shop.blobs, shop.caches) for each in place.iterdir()] == [
        "fresh",
        "fresh",
    ]


def test_what_was_used_longest_ago_goes_when_it_is_too_much(tmp_path: Path) -> None:
    now = time.time()
    for age, name in enumerate(("newest", "middle", "oldest")):
        (tmp_path / name).write_bytes(b"x" * 40_000)
        os.utime(tmp_path / name, (now - age, now - age))
    workshop.tidy(tmp_path, 100_000)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["middle", "newest"]
