"""Which files a resource of the OCI configuration is written to, on both versions of cgroups."""

from typing import Any

import pytest

from agent.runtime import container, plan_resources

_V1 = plan_resources.World(
    1,
    ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "rdma", "net_cls", "net_prio", "devices"],
    has_programs=False,
)
_V2 = plan_resources.World(2, ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma", "misc"])
_DISK = {"major": 8, "minor": 16}


def _written(resources: dict[str, Any], world: plan_resources.World) -> dict[str, str]:
    return {file: value for _, file, value, _ in plan_resources.limits(resources, world)["rows"]}


@pytest.mark.parametrize(
    ("resources", "v1", "v2"),
    [
        ({"cpu": {"shares": 512}}, {"cpu.shares": "512"}, {"cpu.weight": "20"}),
        ({"cpu": {"shares": 1}}, {"cpu.shares": "2"}, {"cpu.weight": "1"}),
        (
            {"cpu": {"quota": 50_000, "period": 200_000}},
            {"cpu.cfs_period_us": "200000", "cpu.cfs_quota_us": "50000"},
            {"cpu.max": "50000 200000"},
        ),
        ({"cpu": {"quota": -1}}, {"cpu.cfs_quota_us": "-1"}, {"cpu.max": "max 100000"}),
        ({"cpu": {"burst": 1000}}, {"cpu.cfs_burst_us": "1000"}, {"cpu.max.burst": "1000"}),
        ({"cpu": {"idle": 1, "shares": 512}}, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
        (
            {"cpu": {"cpus": "0-1", "mems": "0"}},
            {"cpuset.cpus": "0-1", "cpuset.mems": "0"},
            {"cpuset.cpus": "0-1", "cpuset.mems": "0"},
        ),
        ({"memory": {"limit": 4096}}, {"memory.limit_in_bytes": "4096"}, {"memory.max": "4096"}),
        (
            {"memory": {"limit": 4096, "swap": 6144}},
            {"memory.limit_in_bytes": "4096", "memory.memsw.limit_in_bytes": "6144"},
            {"memory.max": "4096", "memory.swap.max": "2048"},
        ),
        (
            {"memory": {"limit": 4096, "swap": -1}},
            {"memory.limit_in_bytes": "4096", "memory.memsw.limit_in_bytes": "-1"},
            {"memory.max": "4096", "memory.swap.max": "max"},
        ),
        (
            {"memory": {"limit": -1}},
            {"memory.limit_in_bytes": "-1", "memory.memsw.limit_in_bytes": "-1"},
            {"memory.max": "max", "memory.swap.max": "max"},
        ),
        ({"memory": {"reservation": 9}}, {"memory.soft_limit_in_bytes": "9"}, {"memory.low": "9"}),
        ({"memory": {"kernel": 9, "kernelTCP": 9, "useHierarchy": True}}, {}, {}),
        ({"pids": {"limit": 9}}, {"pids.max": "9"}, {"pids.max": "9"}),
        ({"pids": {"limit": -1}}, {"pids.max": "max"}, {"pids.max": "max"}),
        (
            {"blockIO": {"weight": 500}},
            {"blkio.weight|blkio.bfq.weight": "500|500"},
            {"io.bfq.weight|io.weight": "500|4950"},
        ),
        (
            {"blockIO": {"throttleReadBpsDevice": [_DISK | {"rate": 7}]}},
            {"blkio.throttle.read_bps_device": "8:16 7"},
            {"io.max": "8:16 rbps=7"},
        ),
        (
            {"blockIO": {"throttleWriteIOPSDevice": [_DISK | {"rate": 0}]}},
            {"blkio.throttle.write_iops_device": "8:16 0"},
            {"io.max": "8:16 wiops=max"},
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
            {"hugetlb.2MB.limit_in_bytes": "0", "hugetlb.2MB.rsvd.limit_in_bytes": "0"},
            {"hugetlb.2MB.max": "0", "hugetlb.2MB.rsvd.max": "0"},
        ),
        (
            {"rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 1000}}},
            {"rdma.max": "mlx5_0 hca_handle=3 hca_object=1000"},
            {"rdma.max": "mlx5_0 hca_handle=3 hca_object=1000"},
        ),
        ({"cpu": {"shares": None, "quota": 0}, "memory": {}, "pids": None, "network": {}}, {}, {}),
    ],
)
def test_a_resource_is_written_in_the_words_of_the_version(
    resources: dict[str, Any], v1: dict[str, str], v2: dict[str, str]
) -> None:
    assert (_written(resources, _V1), _written(resources, _V2)) == (v1, v2)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"cpu": {"realtimeRuntime": 5}}, {"cpu.rt_runtime_us": "5"}),
        ({"memory": {"swappiness": 0}}, {"memory.swappiness": "0"}),
        ({"memory": {"disableOOMKiller": True}}, {"memory.oom_control": "1"}),
        ({"network": {"classID": 1048577}}, {"net_cls.classid": "1048577"}),
        ({"network": {"priorities": [{"name": "eth0", "priority": 5}]}}, {"net_prio.ifpriomap": "eth0 5"}),
        ({"blockIO": {"leafWeight": 10}}, {"blkio.leaf_weight": "10"}),
    ],
)
def test_what_only_v1_knows_is_an_error_on_v2(resources: dict[str, Any], expected: dict[str, str]) -> None:
    assert _written(resources, _V1) == expected
    with pytest.raises(container.LaunchFailed, match=r"linux\.resources\.\w+\.\w+ is a limit of cgroup v1"):
        plan_resources.limits(resources, _V2)


def test_files_of_v2_are_written_as_they_come_line_by_line() -> None:
    unified = {"memory.high": "1000", "io.max": "8:0 rbps=1\n8:16 rbps=2", "cgroup.max.depth": "3"}
    resources = {"memory": {"limit": 2000}, "unified": unified}

    rows = [row[:3] for row in plan_resources.limits(resources, _V2)["rows"]]

    assert rows == [
        ["memory", "memory.max", "2000"],
        ["memory", "memory.high", "1000"],
        ["io", "io.max", "8:0 rbps=1"],
        ["io", "io.max", "8:16 rbps=2"],
        ["", "cgroup.max.depth", "3"],
    ]
    with pytest.raises(container.LaunchFailed, match="unified holds files of cgroup v2"):
        plan_resources.limits(resources, _V1)


@pytest.mark.parametrize("file", ["../memory.max", "cgroup.procs", "memory", "cgroup.subtree_control"])
def test_unified_writes_no_other_file(file: str) -> None:
    with pytest.raises(container.LaunchFailed, match=r"linux\.resources\.unified"):
        plan_resources.limits({"unified": {file: "1"}}, _V2)


@pytest.mark.parametrize(
    ("resources", "missing"),
    [
        ({"cpu": {"cpus": "0"}}, r"linux\.resources\.cpu\.cpus needs the cgroup controller cpuset"),
        ({"blockIO": {"weight": 9}}, r"blockIO\.weight needs the cgroup controller (blkio|io)"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, "needs the cgroup controller hugetlb"),
        ({"rdma": {"x": {"hcaHandles": 1}}}, "needs the cgroup controller rdma"),
    ],
)
def test_a_limit_without_its_controller_is_an_error_that_names_it(
    resources: dict[str, Any], missing: str
) -> None:
    for version in (1, 2):
        world = plan_resources.World(version, ["cpu", "memory", "pids"])
        with pytest.raises(container.LaunchFailed, match=missing):
            plan_resources.limits(resources, world)


def test_no_swap_is_asked_for_where_swap_is_counted_and_goes_without_where_it_is_not() -> None:
    for world in (_V1, _V2):
        rows = plan_resources.limits({"memory": {"limit": 4096, "swap": 4096}}, world)["rows"]
        assert [(bool(key), "sw" in file) for _, file, _, key in rows] == [(True, False), (False, True)]
        rows = plan_resources.limits({"memory": {"limit": 4096, "swap": 8192}}, world)["rows"]
        assert all(key for _, _, _, key in rows)


@pytest.mark.parametrize("memory", [{"swap": 4096}, {"limit": 4096, "swap": 1}, {"limit": -1, "swap": 5}])
def test_swap_that_cannot_be_is_refused(memory: dict[str, int]) -> None:
    for world in (_V1, _V2):
        with pytest.raises(container.LaunchFailed, match=r"memory\.swap"):
            plan_resources.limits({"memory": memory}, world)


def test_an_update_checks_first_what_is_used_when_told_to() -> None:
    resources = {"memory": {"limit": 4096, "checkBeforeUpdate": True}}

    assert plan_resources.changes(resources, _V2)["rows"][0][1] == "?memory.current"
    assert plan_resources.changes(resources, _V1)["rows"][0][1] == "?memory.usage_in_bytes"


def test_device_rules_are_a_program_where_there_is_a_v2_mount_and_rows_for_v1_alone() -> None:
    resources = {"devices": [{"allow": False, "access": "rwm"}]}

    on_v2, on_v1 = plan_resources.limits(resources, _V2), plan_resources.limits(resources, _V1)

    assert (bool(on_v2["devices"]), on_v2.get("device_rows")) == (True, None)
    assert (on_v1["devices"], on_v1["device_rows"][0][1:3]) == (b"", ["devices.deny", "a"])
    assert on_v2["devices_asked"]
    nothing = plan_resources.World(1, ["cpu"], has_programs=False)
    with pytest.raises(container.LaunchFailed, match="needs the cgroup controller devices"):
        plan_resources.limits(resources, nothing)


def test_without_rules_devices_are_the_usual_ones_where_the_kernel_can() -> None:
    nothing = plan_resources.World(1, ["cpu"], has_programs=False)
    asked = {"devices": [{"allow": False, "access": "rwm"}]}

    for world in (_V1, _V2):
        silent, spoken = plan_resources.limits(None, world), plan_resources.limits(asked, world)
        assert silent | {"devices_asked": True} == spoken
        assert not silent["devices_asked"]
    assert not plan_resources.limits({}, nothing)["devices"]


def test_who_may_use_every_device_is_not_guarded() -> None:
    everything = {"devices": [{"allow": True, "access": "rwm"}]}

    for world in (_V1, _V2):
        assert plan_resources.limits(everything, world) == {"rows": [], "devices": b""}
