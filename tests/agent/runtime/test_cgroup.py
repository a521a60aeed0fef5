"""Which files a limit is written to, on recorded hierarchies of both kinds."""

from pathlib import Path

import pytest

from agent.runtime import cgroup

_LIMITS = {
    "memory": 1 << 20,
    "swap": 0,
    "cpu_quota": 50_000,
    "cpu_period": 100_000,
    "cpu_shares": 512,
    "pids": 9,
}


def _mounts(path: Path, *rows: str) -> str:
    table = path / "mounts"
    table.write_text("".join(f"{row} 0 0\n" for row in rows))
    return str(table)


def test_a_machine_with_only_v2_gets_the_v2_driver(tmp_path: Path) -> None:
    found = cgroup.detect(_mounts(tmp_path, "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate"))

    assert isinstance(found, cgroup.V2)


def test_a_hybrid_machine_gets_v1_with_the_v2_mount_for_killing(tmp_path: Path) -> None:
    table = _mounts(
        tmp_path,
        "cgroup /c/cpu cgroup rw,cpu,cpuacct",
        "cgroup /c/memory cgroup rw,memory",
        "cgroup /c/pids cgroup rw,pids",
        "cgroup2 /c/unified cgroup2 rw",
    )
    found = cgroup.detect(table)

    assert isinstance(found, cgroup.V1)
    assert found.mounts == ["/c/cpu", "/c/memory", "/c/pids", "/c/unified"]
    assert found.killer == "/c/unified"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A tree of ordinary files that takes what a kernel would take."""
    return tmp_path


def test_v2_limits(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, str] = {}
    monkeypatch.setattr(cgroup, "_write", lambda path, value: written.__setitem__(path, str(value)))
    (recorded / "cgroup.controllers").write_text("cpu memory pids io")
    (recorded / "cgroup.subtree_control").write_text("memory")

    cgroup.V2(str(recorded)).create("orch/web", _LIMITS)

    assert written == {
        f"{recorded}/cgroup.subtree_control": "+cpu +pids",
        f"{recorded}/orch/web/memory.max": "1048576",
        f"{recorded}/orch/web/cpu.max": "50000 100000",
        f"{recorded}/orch/web/cpu.weight": "20",
        f"{recorded}/orch/web/pids.max": "9",
    }
    assert (recorded / "orch" / "web").is_dir()


def test_v1_limits(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, str] = {}
    monkeypatch.setattr(cgroup, "_write", lambda path, value: written.__setitem__(path, str(value)))
    mounts = {}
    for name in ("cpu", "memory", "pids"):
        (recorded / name).mkdir()
        mounts[name] = str(recorded / name)

    cgroup.V1(mounts, "").create("orch/web", _LIMITS)

    assert {path.removeprefix(str(recorded)): value for path, value in written.items()} == {
        "/memory/orch/web/memory.limit_in_bytes": "1048576",
        "/cpu/orch/web/cpu.cfs_period_us": "100000",
        "/cpu/orch/web/cpu.cfs_quota_us": "50000",
        "/cpu/orch/web/cpu.shares": "512",
        "/pids/orch/web/pids.max": "9",
    }


def test_usage_and_oom_kills_are_read_on_v2(recorded: Path) -> None:
    group = recorded / "web"
    group.mkdir()
    (group / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (group / "memory.current").write_text("4096\n")
    (group / "pids.current").write_text("3\n")
    (group / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")

    driver = cgroup.V2(str(recorded))

    assert driver.usage("web") == (1.5, 4096, 3)
    assert driver.oom_kills("web") == 1
    assert driver.usage("gone") == (0.0, 0, 0)


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262_144, 10_000)])
def test_shares_become_weights(shares: int, weight: int) -> None:
    assert cgroup.weight(shares) == weight


@pytest.mark.parametrize(("pid", "written"), [(0, "0"), (77, "77")])
def test_a_process_joins_a_group_and_takes_others_in(recorded: Path, pid: int, written: str) -> None:
    """On v1 also in systemd's own hierarchy, where the group is made for helpers only."""
    v1 = cgroup.V1({"pids": f"{recorded}/pids", "name=systemd": f"{recorded}/systemd"}, "")
    for driver, mounts in ((cgroup.V2(f"{recorded}/v2"), ["v2"]), (v1, ["pids", "systemd"])):
        for mount in mounts:
            (recorded / mount).mkdir(exist_ok=True)
        driver.create_helper("helpers")
        doors = [recorded / mount / "helpers" / "cgroup.procs" for mount in mounts]
        for door in doors:
            door.touch()
        driver.join("helpers", pid)
        assert [door.read_text() for door in doors] == [written] * len(mounts)
