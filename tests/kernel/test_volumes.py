"""Volumes that begin with what the image has at their place."""

# ruff: noqa: ASYNC240  small files do not block

import os
from pathlib import Path
from typing import Any

import pytest

from agent.reconciler.configuration import Mounted
from agent.reconciler.volumes import Volumes
from agent.runtime import spec

pytestmark = pytest.mark.root
FIRST = 0x7000_0000


def a_volume(bench: Any, owner: int) -> Mounted:
    (made,) = Volumes(bench.directory / "volumes").prepare("task", "main", ["/data"], owner)
    return made


@pytest.mark.parametrize("first", [0, FIRST])
async def test_a_volume_begins_with_the_images_files_owners_and_modes(bench: Any, first: int) -> None:
    data = bench.layer / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "row").write_text("of the image")
    (data / "link").symlink_to("sub/row")
    for path, owner, mode in (
        (data, 70, 0o1750),
        (data / "sub", 0, 0o700),
        (data / "sub" / "row", 71, 0o640),
    ):
        os.chown(path, owner, owner)
        path.chmod(mode)
    held = a_volume(bench, first)
    script = (
        "stat -c '%u %g %a %n' /data /data/sub /data/sub/row; cat /data/link; echo; echo more > /data/new"
    )

    exited, said = await bench.run(script, mounts=[spec.volume(held.source, "/data")], first_id=first)

    assert said.splitlines() == [
        "70 70 1750 /data",
        "0 0 700 /data/sub",
        "71 71 640 /data/sub/row",
        "of the image",
    ]
    assert exited.exit_code == 0
    assert (data / "new").exists() is False
    assert Path(held.source, "sub/row").stat().st_uid == first + 71

    (data / "later").touch()  # what the volume has now is its own
    script = "cat /data/new; ls /data"
    _, said = await bench.run(script, mounts=[spec.volume(held.source, "/data")], first_id=first)
    assert said.split() == ["more", "link", "new", "sub"]


async def test_where_the_image_has_nothing_the_volume_is_an_empty_directory_of_root(bench: Any) -> None:
    held = a_volume(bench, FIRST)
    script = "stat -c '%u %a' /data; ls /data; touch /data/x"

    exited, said = await bench.run(script, mounts=[spec.volume(held.source, "/data")], first_id=FIRST)

    assert said == "0 755"
    assert exited.exit_code == 0


async def test_a_link_in_the_images_files_leads_a_volume_to_nothing_of_the_host(
    bench: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    (bench.layer / "data").symlink_to(tmp_path)
    held = a_volume(bench, 0)

    exited, said = await bench.run("ls -A /data", mounts=[spec.volume(held.source, "/data")])

    assert (exited.exit_code, said) == (0, "")
    assert secret.read_text() == "of the host"
    assert list(Path(held.source).iterdir()) == []
