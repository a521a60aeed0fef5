"""An entry of the journal is there whole, or it is the one before."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime import journal


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """A file takes a hundred bytes: the rest of a write is left out, as on a disk that is full.

    For one write only: what the tests themselves print may go to a file as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_entry_that_is_read_is_the_one_that_was_written(tmp_path: Path) -> None:
    kept = journal.Journal(str(tmp_path / "containers"))
    (tmp_path / "containers" / "c").mkdir()
    entry = {"container": "c", "state": journal.RUNNING}

    assert kept.read("c") is None
    kept.write(entry)

    assert kept.read("c") == entry
    kept.forget("c")
    assert kept.names() == []


def test_an_entry_that_does_not_fit_is_an_error_and_leaves_the_one_before(
    tmp_path: Path,
) -> None:
    kept = journal.Journal(str(tmp_path / "containers"))
    (tmp_path / "containers" / "c").mkdir()
    before = {"container": "c", "state": journal.STARTING}
    kept.write(before)

    with no_room(), pytest.raises(OSError, match="No space left"):
        kept.write({**before, "words": "x" * 1000})

    assert kept.read("c") == before
