"""Where an image wants volumes, and the directories behind them."""

import os
from pathlib import Path

import pytest

from agent.reconciler import volumes
from agent.reconciler.accounts import Account
from agent.reconciler.configuration import Mounted, configuration
from agent.reconciler.volumes import Volumes
from agent.runtime import copyup
from orch.model.container import ContainerSpec, VolumeMount
from orch.oci.failure import ImageFailure
from orch.oci.image_config import ImageConfig


def a_container(*targets: str) -> ContainerSpec:
    mounts = tuple(VolumeMount(source="/srv", target=target) for target in targets)
    return ContainerSpec(image="db:1", volumes=mounts)


def test_what_the_service_mounts_there_takes_the_place_of_an_images_volume() -> None:
    image = ImageConfig(volumes=("/data/", "/logs", "/etc/db.conf", "relative"))
    files = [Mounted("/x", "/etc/db.conf")]

    assert volumes.declared(a_container("/data"), image, files) == ("/logs", "/relative")


@pytest.mark.parametrize("path", ["/", "/../..", "/proc", "/sys/fs", "/x/../dev/shm"])
def test_a_volume_over_what_is_the_kernels_or_the_whole_root_is_refused(path: str) -> None:
    with pytest.raises(ImageFailure, match="where none can be"):
        volumes.declared(a_container(), ImageConfig(volumes=(path,)))


def test_an_image_cannot_make_a_node_mount_without_end() -> None:
    image = ImageConfig(volumes=tuple(f"/v{number}" for number in range(65)))

    with pytest.raises(ImageFailure, match="65 volumes; 64 is the limit"):
        volumes.declared(a_container(), image)


def test_a_directory_is_mounted_before_what_lies_below_it() -> None:
    made = configuration(
        a_container("/var/lib/db/wal", "/var"),
        ImageConfig(command=("db",)),
        Account(),
        hostname="db",
        netns="",
        volumes=[Mounted("/state/1", "/var/lib/db")],
    )

    places = [mount["destination"] for mount in made["mounts"] if mount["destination"].startswith("/var")]
    assert places == ["/var", "/var/lib/db", "/var/lib/db/wal"]


def test_a_volume_lives_as_long_as_its_task(tmp_path: Path) -> None:
    held = Volumes(tmp_path / "volumes")
    (first,) = held.prepare("web.1", "main", ["/data"], os.getuid())
    Path(first.source).chmod(0o750)  # as the start of the container does at the end
    Path(first.source, "row").touch()

    (again,) = held.prepare("web.1", "main", ["/data"], os.getuid())
    (other,) = held.prepare("web.2", "main", ["/data"], os.getuid())
    assert Path(again.source, "row").exists()
    assert other.source != first.source
    assert held.tasks() == {"web.1", "web.2"}

    held.remove("web.1")
    held.remove("web.1")
    assert held.tasks() == {"web.2"}


def test_a_volume_whose_first_content_is_not_whole_begins_anew(tmp_path: Path) -> None:
    held = Volumes(tmp_path / "volumes")
    (cut_short,) = held.prepare("web.1", "main", ["/data"], os.getuid())
    Path(cut_short.source, "half").touch()

    (again,) = held.prepare("web.1", "main", ["/data"], os.getuid())

    assert list(Path(again.source).iterdir()) == []
    assert Path(again.source).stat().st_mode & 0o7777 == copyup.UNFILLED
