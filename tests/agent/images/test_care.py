"""Room on the disk is made of what nobody needs, and of nothing else."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.images import care
from agent.images.library import Library
from orch.oci import build
from orch.oci.build import Item
from tests.agent.images.test_library import put

NOW = 1_500_000_000.0
DAY = 86400.0


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library.open(tmp_path, boot="boot-1")
    yield opened
    opened.close()


def used(library: Library, name: str, days_ago: float) -> str:
    """An image with a layer of its own that was needed last so long ago."""
    digest = put(library, name, build.layer([Item("file", name.encode())]))
    record = library.directory / "images" / f"{digest.removeprefix('sha256:')}.json"
    os.utime(record, (NOW - days_ago * DAY,) * 2)
    return digest


def disk(library: Library, per_image: float) -> float:
    """A disk that is full in proportion to the images on it."""
    return len(library.images) * per_image


def names(library: Library) -> set[str]:
    return {library.references_of(each.digest)[0].rpartition("/")[2] for each in library.images}


def tidy(library: Library, *in_use: str, per_image: float = 0.0, age_days: float = 14.0) -> care.Freed:
    marks = care.Marks(high=0.85, low=0.5, age_seconds=age_days * DAY)
    return care.tidy(library, in_use, marks, lambda: disk(library, per_image), NOW)


def test_what_is_long_unused_goes_and_is_named(library: Library) -> None:
    used(library, "old:1", 20)
    used(library, "young:1", 3)

    freed = tidy(library)

    assert names(library) == {"young:1"}
    assert freed.bytes == 4
    assert "removed 1 image that nothing needs" in str(freed)
    assert str(freed).endswith("docker.io/library/old:1")


def test_with_an_age_of_nothing_no_image_is_too_old(library: Library) -> None:
    used(library, "old:1", 2000)

    assert tidy(library, age_days=0).images == ()


def test_above_the_high_mark_the_longest_unused_go_until_the_low_mark(library: Library) -> None:
    for days in range(1, 10):
        used(library, f"web:{days}", days)

    freed = tidy(library, per_image=0.1)

    assert names(library) == {f"web:{days}" for days in range(1, 6)}
    assert len(freed.images) == 4


def test_between_the_marks_nothing_goes(library: Library) -> None:
    for days in range(1, 9):
        used(library, f"web:{days}", days)

    assert tidy(library, per_image=0.1).images == ()


def test_what_is_needed_stays_however_full_the_disk(library: Library) -> None:
    needed = used(library, "needed:1", 30)
    used(library, "fresh:1", 60 / DAY)
    used(library, "idle:1", 1)

    tidy(library, needed, per_image=1.0)

    assert names(library) == {"needed:1", "fresh:1"}


def test_what_was_needed_counts_from_then_on(library: Library) -> None:
    needed = used(library, "needed:1", 30)

    tidy(library, needed)

    assert library.used_at(needed) > NOW - 30 * DAY


def test_layers_of_a_pull_that_broke_off_wait_a_while_for_the_next_one(library: Library) -> None:
    diff_id = build.layer([Item("half")]).diff_id
    library.adopt(library.new_layer(), diff_id, 4)

    tidy(library)
    assert library.has_layer(diff_id)

    (marker,) = (library.directory / "layers").glob("*.json")
    came = marker.stat().st_mtime - care.BROKEN_OFF_SECONDS - 1
    os.utime(marker, (came, came))
    tidy(library)
    assert not library.has_layer(diff_id)
