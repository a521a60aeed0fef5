"""What of a node's /dev a privileged container is given: devices, with their owners and modes, and nothing else."""

import os
from pathlib import Path

from agent.runtime import host_devices


def test_devices_are_those_of_the_node_and_what_every_container_has_is_left_out() -> None:
    rows = {row["path"]: row for row in host_devices.found()}

    assert not {"/dev/null", "/dev/tty", "/dev/ptmx", "/dev/console"} & rows.keys()
    assert not [path for path in rows if path.startswith(("/dev/pts/", "/dev/shm/"))]
    for path, row in rows.items():
        assert os.lstat(path).st_rdev == os.makedev(row["major"], row["minor"])


def test_files_links_and_directories_that_are_not_there_are_no_devices(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_text("")
    (tmp_path / "link").symlink_to("/dev/null")

    assert host_devices.found(str(tmp_path)) == []
    assert host_devices.found(str(tmp_path / "nowhere")) == []
