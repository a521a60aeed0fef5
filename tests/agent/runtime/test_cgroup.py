"""Which driver fits a machine, and what it writes, reads and makes, on recorded hierarchies of both kinds."""

import os
from pathlib import Path

import pytest

from agent.runtime import cgroup, cgroup_files, cgroup_v1, cgroup_v2

_KEY = "linux.resources.memory.limit"


def _mounts(path: Path, *rows: str) -> str:
    table = path / "mounts"
    table.write_text("".join(f"{row} 0 0\n" for row in rows))
    return str(table)


def test_a_machine_with_only_v2_gets_the_v2_driver(tmp_path: Path) -> None:
    found = cgroup.detect(_mounts(tmp_path, "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate"))

    assert isinstance(found, cgroup_v2.V2)


def test_a_hybrid_machine_gets_v1_with_the_v2_mount_for_killing(tmp_path: Path) -> None:
    table = _mounts(
        tmp_path,
        "cgroup /c/cpu cgroup rw,nosuid,cpu,cpuacct",
        "cgroup /c/memory cgroup rw,memory",
        "cgroup /c/pids cgroup rw,pids",
        "cgroup /c/net cgroup rw,net_cls,net_prio",
        "cgroup /c/systemd cgroup rw,xattr,name=systemd",
        "cgroup2 /c/unified cgroup2 rw",
    )
    found = cgroup.detect(table)

    assert isinstance(found, cgroup_v1.V1)
    assert found.mounts == ["/c/cpu", "/c/memory", "/c/pids", "/c/unified"]
    assert (found.others, found.killer, found.freezer) == (["/c/net"], "/c/unified", "/c/unified")
    assert found.controllers() == ["cpu", "cpuacct", "memory", "pids", "net_cls", "net_prio"]


def test_a_machine_with_only_v1_freezes_in_a_hierarchy_of_its_own(tmp_path: Path) -> None:
    rows = [f"cgroup /c/{name} cgroup rw,{name}" for name in ("cpu", "memory", "pids", "freezer")]

    found = cgroup.detect(_mounts(tmp_path, *rows))

    assert isinstance(found, cgroup_v1.V1)
    assert (found.freezer, "/c/freezer" in found.mounts) == ("/c/freezer", True)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A tree of ordinary files that takes what a kernel would take."""
    return tmp_path


def test_v2_hands_the_controllers_down_that_a_limit_needs(recorded: Path) -> None:
    _v2_directories(recorded, "orch/web", controllers="cpu memory pids io hugetlb")
    row = ["hugetlb", "hugetlb.2MB.max", "0", "linux.resources.hugepageLimits.2MB"]
    (recorded / "orch/web/hugetlb.2MB.max").touch()

    cgroup_v2.V2(str(recorded)).create("orch/web", {"rows": [row]})

    assert (recorded / "cgroup.subtree_control").read_text() == "+cpu +memory +pids +hugetlb"
    assert (recorded / "orch/cgroup.subtree_control").read_text() == "+cpu +memory +pids +hugetlb"
    assert (recorded / "orch/web/cgroup.subtree_control").read_text() == ""
    assert (recorded / "orch/web/hugetlb.2MB.max").read_text() == "0"


def test_a_controller_that_a_delegated_tree_was_not_given_is_named(recorded: Path) -> None:
    _v2_directories(recorded, "orch/web", controllers="cpu memory pids")
    row = ["io", "io.max", "8:0 rbps=1", "linux.resources.blockIO.throttleReadBpsDevice"]

    with pytest.raises(cgroup_files.Refused, match=r"is not given the cgroup controller io"):
        cgroup_v2.V2(str(recorded)).create("orch/web", {"rows": [row]})


def test_on_v1_a_group_lies_where_its_limits_need_it_and_leaves_nothing(recorded: Path) -> None:
    mounts = {name: str(recorded / name) for name in ("cpu", "memory", "pids", "blkio", "cpuset", "net_cls")}
    for mount in mounts.values():
        Path(mount).mkdir()
    driver = cgroup_v1.V1(mounts, "")
    (recorded / "blkio/orch/web").mkdir(parents=True)
    (recorded / "blkio/orch/web/blkio.bfq.weight").touch()
    row = ["blkio", "blkio.weight|blkio.bfq.weight", "1|2", "linux.resources.blockIO.weight"]

    driver.create("orch/web", {"rows": [row], "devices": b""})

    found = {path.parent.parent.name for path in recorded.glob("*/orch/web") if path.is_dir()}
    assert found == {"cpu", "memory", "pids", "blkio"}
    assert (recorded / "blkio/orch/web/blkio.bfq.weight").read_text() == "2"
    (recorded / "blkio/orch/web/blkio.bfq.weight").unlink()
    assert driver.remove("orch/web")
    assert list(recorded.glob("*/orch/web")) == []


def test_on_v1_a_kill_passes_over_hierarchies_that_the_group_has_left_already(recorded: Path) -> None:
    mounts = {name: str(recorded / name) for name in ("cpu", "memory", "pids", "freezer")}
    driver = cgroup_v1.V1(mounts, "")
    (recorded / "memory/orch/web").mkdir(parents=True)

    driver.kill("orch/web")

    assert not (recorded / "freezer").exists()


def test_a_limit_that_the_kernel_does_not_know_is_named_by_its_key(recorded: Path) -> None:
    with pytest.raises(cgroup_files.Refused, match=rf"{_KEY}: this kernel has no a nor b"):
        cgroup_files.apply([["memory", "a|b", "1|2", _KEY]], lambda _: str(recorded))

    cgroup_files.apply(
        [["memory", "a", "1", ""]], lambda _: str(recorded)
    )  # without a key it need not be there


def test_a_limit_below_what_is_used_is_refused_when_that_is_asked_for(recorded: Path) -> None:
    """And then nothing is written: v2 would take the limit, and kill."""
    (recorded / "memory.current").write_text("4096\n")
    (recorded / "memory.max").write_text("max")
    write = ["memory", "memory.max", "4095", _KEY]

    cgroup_files.apply([["memory", "?memory.current", "4096", _KEY]], lambda _: str(recorded))
    with pytest.raises(cgroup_files.Refused, match="4095 is below the 4096 that are used"):
        cgroup_files.apply([["memory", "?memory.current", "4095", _KEY], write], lambda _: str(recorded))
    assert (recorded / "memory.max").read_text() == "max"


def test_usage_and_oom_kills_are_read_on_v2(recorded: Path) -> None:
    group = recorded / "web"
    group.mkdir()
    (group / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (group / "memory.current").write_text("4096\n")
    (group / "pids.current").write_text("3\n")
    (group / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")

    driver = cgroup_v2.V2(str(recorded))

    assert driver.usage("web") == (1.5, 4096, 3)
    assert driver.oom_kills("web") == 1
    assert driver.usage("gone") == (0.0, 0, 0)


def test_processes_of_groups_below_are_found_too(recorded: Path) -> None:
    for group, pids in (("web", "1\n2\n"), ("web/a", ""), ("web/a/b", "7\n")):
        (recorded / group).mkdir()
        (recorded / group / "cgroup.procs").write_text(pids)

    driver = cgroup_v2.V2(str(recorded))

    assert (driver.pids("web"), driver.tree_pids("web")) == ([1, 2], [1, 2, 7])


@pytest.mark.parametrize(("pid", "written"), [(0, "0"), (77, "77")])
def test_a_process_joins_a_group_and_takes_others_in(recorded: Path, pid: int, written: str) -> None:
    """On v1 also in systemd's own hierarchy, where the group is made for helpers only."""
    v1 = cgroup_v1.V1({"pids": f"{recorded}/pids", "name=systemd": f"{recorded}/systemd"}, "")
    for driver, mounts in ((cgroup_v2.V2(f"{recorded}/v2"), ["v2"]), (v1, ["pids", "systemd"])):
        for mount in mounts:
            (recorded / mount).mkdir(exist_ok=True)
        driver.create_helper("helpers")
        doors = [recorded / mount / "helpers" / "cgroup.procs" for mount in mounts]
        for door in doors:
            door.touch()
        driver.join("helpers", pid)
        assert [door.read_text() for door in doors] == [written] * len(mounts)


def _v2_directories(mount: Path, group: str, *, controllers: str) -> None:
    path = mount
    for part in ("", *group.split("/")):
        path = path / part
        path.mkdir(exist_ok=True)
        (path / "cgroup.controllers").write_text(controllers)
        (path / "cgroup.subtree_control").touch()


def test_a_group_can_be_passed_by_all_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        cgroup_files.makedirs(str(tmp_path), "orch/web")
    finally:
        os.umask(before)

    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("orch", "orch/web")] == [0o755, 0o755]
