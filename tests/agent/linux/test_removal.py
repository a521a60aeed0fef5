"""Directories of strangers, removed whole."""

import os
from pathlib import Path

import pytest

from agent.linux import removal


def test_what_is_nested_deeper_than_stack_and_descriptors_reach_goes(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    here = os.open(gone, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)

    removal.tree(gone)

    assert not gone.exists()


def test_links_are_removed_and_what_they_point_to_stays(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "link").symlink_to(kept)

    removal.tree(gone)

    assert not gone.exists()
    assert (kept / "file").exists()


def test_what_is_gone_already_is_fine_and_a_file_is_not_taken_for_a_directory(tmp_path: Path) -> None:
    removal.tree(tmp_path / "missing")
    (tmp_path / "file").touch()

    with pytest.raises(NotADirectoryError):
        removal.tree(tmp_path / "file")
    removal.tree(tmp_path / "file", ignore_errors=True)
