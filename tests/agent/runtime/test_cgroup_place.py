"""Where a group lies for what a configuration says."""

import pytest

from agent.runtime import cgroup_place, container


@pytest.mark.parametrize(
    ("path", "systemd", "group"),
    [
        ("/docker/abc", False, "docker/abc"),
        ("libpod_parent//libpod-abc/", False, "libpod_parent/libpod-abc"),
        ("", False, "orchrun/c1"),
        ("machine.slice:libpod:abc", True, "machine.slice/libpod-abc.scope"),
        ("a-b-c.slice:docker:x", True, "a.slice/a-b.slice/a-b-c.slice/docker-x.scope"),
        (":docker:x", True, "system.slice/docker-x.scope"),
        ("-.slice::x", True, "x.scope"),
        ("user.slice:docker:mine.slice", True, "user.slice/mine.slice"),
        ("", True, "system.slice/orchrun-c1.scope"),
    ],
)
def test_a_path_is_a_group(path: str, systemd: bool, group: str) -> None:
    assert cgroup_place.of(path, "c1", systemd=systemd) == group


@pytest.mark.parametrize(
    ("path", "systemd"),
    [
        ("/a/../../b", False),
        ("/", False),
        ("s.slice:x:y", False),
        ("/a", True),
        ("x:y:z", True),
        ("a--b.slice:x:y", True),
    ],
)
def test_what_is_no_path_is_refused(path: str, systemd: bool) -> None:
    with pytest.raises(container.LaunchFailed, match=r"linux\.cgroupsPath"):
        cgroup_place.of(path, "c1", systemd=systemd)
