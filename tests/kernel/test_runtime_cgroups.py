"""Groups on a real kernel, whichever version it has: limited, changed, frozen, killed, guarded and counted."""

import os
import select
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import cgroup, cgroup_files, cgroup_oom, cgroup_stats, cgroup_v2, container, plan_resources

pytestmark = pytest.mark.root

_WITHIN_SECONDS = 10 * float(os.environ.get("ORCH_TEST_PATIENCE", "1"))


class Group:
    """A group of its own, and processes that are put into it."""

    def __init__(self) -> None:
        self.cgroups = cgroup.detect()
        self.world = plan_resources.World.of(self.cgroups)
        self.top = f"orch-test-{uuid.uuid4().hex[:8]}"
        self.name = f"{self.top}/g"
        self.processes: list[subprocess.Popen[bytes]] = []

    def make(self, resources: dict[str, Any] | None = None, below: str = "") -> None:
        self.cgroups.create(f"{self.name}{below}", plan_resources.limits(resources, self.world))

    def change(self, resources: dict[str, Any]) -> None:
        self.cgroups.update(self.name, plan_resources.changes(resources, self.world))

    def run(self, script: str, below: str = "") -> subprocess.Popen[bytes]:
        """A shell in the group: it is there before it does anything."""
        process = subprocess.Popen(
            ["/bin/busybox", "sh", "-c", f"read go; {script}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        self.cgroups.join(f"{self.name}{below}", process.pid)
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.flush()
        return process

    def said(self, script: str, below: str = "") -> str:
        process = self.run(script, below)
        assert process.stdout
        return process.stdout.read().decode().strip()

    def holds(self, file: str) -> str:
        """Of whichever hierarchy has the file."""
        (found,) = [path for path in self.places(f"{self.name}/{file}") if path.exists()]
        return found.read_text().strip()

    def places(self, name: str) -> list[Path]:
        mounts = (
            [self.cgroups.mount] if isinstance(self.cgroups, cgroup_v2.V2) else self.cgroups.places.values()
        )
        return [Path(mount, name) for mount in {*mounts, self.cgroups.unified} if mount]

    def take_away(self) -> list[str]:
        for process in self.processes:
            process.kill()
        self.cgroups.kill(self.name)
        self.cgroups.thaw(self.name)
        for process in self.processes:
            process.communicate()
        below = [f"{self.name}/{child}" for child in self.cgroups.children(self.name)]
        deadline = time.monotonic() + _WITHIN_SECONDS
        while time.monotonic() < deadline:
            gone = [self.cgroups.remove(one) for one in (*below, self.name, self.top)]
            if all(gone):
                break
            time.sleep(0.01)  # a process that has ended is still counted for a moment
        return [str(path) for path in self.places(self.top) if path.exists()]


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group()
    try:
        yield made
    finally:
        left = made.take_away()
    assert left == []


_MEMORY = {"limit": 64 << 20, "swap": 64 << 20, "reservation": 1 << 20}
_EVERY_KIND: list[tuple[str, dict[str, Any], dict[str, str], dict[str, str]]] = [
    ("cpu", {"cpu": {"shares": 512}}, {"cpu.shares": "512"}, {"cpu.weight": "20"}),
    (
        "cpu",
        {"cpu": {"quota": 20_000, "period": 50_000}},
        {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "50000"},
        {"cpu.max": "20000 50000"},
    ),
    (
        "cpu",
        {"cpu": {"quota": 20_000, "burst": 1000}},
        {"cpu.cfs_burst_us": "1000"},
        {"cpu.max.burst": "1000"},
    ),
    ("cpu", {"cpu": {"idle": 1}}, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
    (
        "memory",
        {"memory": _MEMORY},
        {"memory.limit_in_bytes": str(64 << 20), "memory.soft_limit_in_bytes": str(1 << 20)},
        {"memory.max": str(64 << 20), "memory.low": str(1 << 20)},
    ),
    ("pids", {"pids": {"limit": 17}}, {"pids.max": "17"}, {"pids.max": "17"}),
    (
        "cpuset",
        {"cpu": {"cpus": "0", "mems": "0"}},
        {"cpuset.cpus": "0", "cpuset.mems": "0"},
        {"cpuset.cpus": "0", "cpuset.mems": "0"},
    ),
    (
        "hugetlb",
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]},
        {"hugetlb.2MB.limit_in_bytes": str(4 << 20)},
        {"hugetlb.2MB.max": str(4 << 20)},
    ),
]


@pytest.mark.parametrize(("controller", "resources", "v1", "v2"), _EVERY_KIND)
def test_a_limit_is_what_the_kernel_holds_or_its_controller_is_named(
    group: Group, controller: str, resources: dict[str, Any], v1: dict[str, str], v2: dict[str, str]
) -> None:
    if controller not in group.world.controllers:
        with pytest.raises(container.LaunchFailed, match=f"needs the cgroup controller {controller}"):
            group.make(resources)
        group.make()
        return
    group.make(resources)

    expected = v1 if group.world.version == 1 else v2
    assert {file: group.holds(file) for file in expected} == expected


def test_v1_and_v2_know_what_the_other_does_not(group: Group) -> None:
    unified, swappiness = {"unified": {"memory.high": str(32 << 20)}}, {"memory": {"swappiness": 7}}
    ours, others = (swappiness, unified) if group.world.version == 1 else (unified, swappiness)

    with pytest.raises(container.LaunchFailed, match=r"cgroup v[12]"):
        group.make(others)
    group.make(ours)

    file, value = ("memory.swappiness", "7") if group.world.version == 1 else ("memory.high", str(32 << 20))
    assert group.holds(file) == value


def test_a_value_that_the_kernel_refuses_is_named_by_its_key(group: Group) -> None:
    with pytest.raises(cgroup_files.Refused, match=r"linux\.resources\.cpu\.(period|quota) .*9000000"):
        group.make({"cpu": {"quota": 5000, "period": 9_000_000}})


def test_limits_of_a_running_group_go_up_and_down(group: Group) -> None:
    """On v1 memory and swap together must never be below memory, so the order turns round."""
    group.make({"memory": {"limit": 32 << 20, "swap": 32 << 20}, "pids": {"limit": 10}})
    group.run("sleep 60")
    file = "memory.limit_in_bytes" if group.world.version == 1 else "memory.max"

    for size in (64 << 20, 16 << 20):
        group.change({"memory": {"limit": size, "swap": size}, "pids": {"limit": size >> 20}})
        assert (group.holds(file), group.holds("pids.max")) == (str(size), str(size >> 20))


def test_a_limit_below_what_is_used_is_refused_when_asked_to_check(group: Group) -> None:
    group.make({"memory": {"limit": 64 << 20}})
    process = group.run("x=$(head -c 4000000 /dev/zero | tr '\\0' x); echo full; cat; : $x")
    assert _heard(process, _WITHIN_SECONDS) == b"full\n"

    with pytest.raises(cgroup_files.Refused, match="are used already"):
        group.change({"memory": {"limit": 1 << 20, "checkBeforeUpdate": True}})


def test_a_process_stays_on_its_cpus_also_when_they_are_given_later(group: Group) -> None:
    if "cpuset" not in group.world.controllers:
        with pytest.raises(container.LaunchFailed, match="cpuset"):
            group.make({"cpu": {"cpus": "0"}})
    group.make()
    process = group.run("sleep 60")
    if "cpuset" in group.world.controllers:
        group.change({"cpu": {"cpus": "0"}})
        allowed = Path(f"/proc/{process.pid}/status").read_text()
        assert "Cpus_allowed_list:\t0\n" in allowed


def test_what_is_frozen_stands_still_and_goes_on_when_thawed(group: Group) -> None:
    group.make()
    process = group.run("cat")
    _say(process, b"one")
    assert _heard(process, _WITHIN_SECONDS) == b"one\n"

    group.cgroups.freeze(group.name)
    assert group.cgroups.is_frozen(group.name)
    _say(process, b"two")
    assert _heard(process, 0.2) == b""

    group.cgroups.thaw(group.name)
    assert not group.cgroups.is_frozen(group.name)
    assert _heard(process, _WITHIN_SECONDS) == b"two\n"


def test_a_kill_takes_the_frozen_and_those_in_groups_below(group: Group) -> None:
    group.make(below="/one")
    group.make(below="/other")
    one, other = group.run("sleep 60 & sleep 60 & wait", below="/one"), group.run("sleep 60", below="/other")
    assert set(group.cgroups.tree_pids(group.name)) >= {one.pid, other.pid}
    group.cgroups.freeze(group.name)

    group.cgroups.kill(group.name)

    assert (one.wait(_WITHIN_SECONDS), other.wait(_WITHIN_SECONDS)) == (-9, -9)


def test_running_out_of_memory_is_told_and_counted(group: Group) -> None:
    group.make({"memory": {"limit": 16 << 20, "swap": 16 << 20}})
    watch = cgroup_oom.Watch(group.cgroups, group.name)
    try:
        assert watch.take() == 0
        said = group.said("dd if=/dev/zero of=/dev/null bs=100M count=1; echo $?")
        assert said == "137"
        ready, _, _ = select.select([watch.fileno()], [], [], _WITHIN_SECONDS)
        assert ready
        assert watch.take() >= 1
        assert group.cgroups.oom_kills(group.name) == 1
        assert cgroup_stats.read(group.cgroups, group.name).memory.oom_kills == 1
    finally:
        watch.close()


def test_devices_are_those_of_the_rules(group: Group) -> None:
    """/dev/kmsg may be read and not written; no rule speaks of /dev/random, which everybody has."""
    log = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    group.make({"devices": [{"allow": False, "access": "rwm"}, log]})
    script = ": </dev/random && echo random; : </dev/kmsg && echo read; (: >/dev/kmsg) && echo written;"

    assert group.said(f"{script} (: </dev/mem) && echo mem; true").split() == ["random", "read"]


def test_without_rules_devices_are_the_usual_ones_and_with_one_on_all_they_are_all(group: Group) -> None:
    group.make(below="/usual")
    group.make({"devices": [{"allow": True, "access": "rwm"}]}, below="/all")
    script = "(: >/dev/kmsg) && echo written; (: >/dev/null) && echo null"

    assert group.said(script, below="/usual").split() == ["null"]
    assert group.said(script, below="/all").split() == ["written", "null"]


def test_v1_alone_guards_devices_in_a_hierarchy_of_its_own(group: Group) -> None:
    """As on a host without any v2 mount; one that has no v1 says that it cannot."""
    world = plan_resources.World(1, group.world.controllers, has_programs=False)
    resources = {"devices": [{"allow": False, "access": "rwm"}]}
    if "devices" not in world.controllers:
        with pytest.raises(container.LaunchFailed, match="needs the cgroup controller devices"):
            plan_resources.limits(resources, world)
        group.make()
        return
    group.cgroups.create(group.name, plan_resources.limits(resources, world))

    assert group.said("(: </dev/kmsg) && echo read; (: </dev/zero) && echo zero") == "zero"


def test_a_group_with_processes_is_not_divided_on_v2_and_the_error_says_why(group: Group) -> None:
    group.make()
    group.run("sleep 60")
    if group.world.version == 1:
        group.make({"memory": {"limit": 32 << 20}}, below="/inner")
        return
    with pytest.raises(cgroup_files.Refused, match="wants the processes in it in a group below"):
        group.make({"memory": {"limit": 32 << 20}}, below="/inner")


def test_what_a_group_used_is_counted(group: Group) -> None:
    group.make({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}, "cpu": {"quota": 10_000}})
    files = " ".join(map(str, group.places(f"{group.name}/cpu.stat")))
    process = group.run(f"until grep -qs 'nr_throttled [1-9]' {files}; do true; done; echo done; cat")
    assert _heard(process, _WITHIN_SECONDS) == b"done\n"

    found = cgroup_stats.read(group.cgroups, group.name)

    assert found.cpu.total > 0
    assert found.cpu.user + found.cpu.system <= found.cpu.total * 1.1
    assert found.cpu.throttled_periods >= 1
    assert 0 < found.memory.used <= found.memory.limit == 64 << 20
    assert 0 < found.memory.working_set <= found.memory.used
    assert found.pids.limit == 9
    assert found.pids.current >= 1


def _say(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin
    process.stdin.write(line + b"\n")
    process.stdin.flush()


def _heard(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return os.read(process.stdout.fileno(), 100) if ready else b""
