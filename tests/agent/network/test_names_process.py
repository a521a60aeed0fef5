"""The lock on orch-dns' folder."""

import os
import subprocess
from pathlib import Path

from agent.network import names_process


def test_who_has_held_the_folder_lets_go_of_it_though_a_child_still_has_the_lock_open(tmp_path: Path) -> None:
    """A child that is forked meanwhile has what we have open, until it executes something else."""
    with names_process.locked(tmp_path, 0) as lock:
        of_a_child = os.dup(lock)

    taken = subprocess.run(["flock", "--nonblock", tmp_path / "lock", "true"], check=False)

    os.close(of_a_child)
    assert taken.returncode == 0
