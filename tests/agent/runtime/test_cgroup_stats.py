"""What a group has used, read from recorded files of both versions."""

from pathlib import Path

import pytest

from agent.runtime import cgroup_events, cgroup_stats, cgroup_v1, cgroup_v2

_PRESSURE = (
    "some avg10=1.50 avg60=2.00 avg300=0.25 total=77\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=5\n"
)
_V2 = {
    "cpu.stat": "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 9\nnr_throttled 4\nthrottled_usec 7\n",
    "memory.current": "8192\n",
    "memory.peak": "9000\n",
    "memory.max": "16384\n",
    "memory.swap.current": "5\n",
    "memory.swap.max": "max\n",
    "memory.stat": "anon 100\nfile 300\ninactive_file 192\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n",
    "pids.current": "3\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n253:7 \n",
    "hugetlb.2MB.current": "10\n",
    "hugetlb.2MB.max_usage": "20\n",
    "hugetlb.2MB.events": "max 30\n",
    "hugetlb.2MB.rsvd.current": "0\n",
    "memory.pressure": _PRESSURE,
}
_V1 = {
    "memory/web/memory.usage_in_bytes": "8192\n",
    "memory/web/memory.max_usage_in_bytes": "9000\n",
    "memory/web/memory.limit_in_bytes": "16384\n",
    "memory/web/memory.memsw.usage_in_bytes": "8197\n",
    "memory/web/memory.memsw.limit_in_bytes": "9223372036854771712\n",
    "memory/web/memory.failcnt": "3\n",
    "memory/web/memory.stat": "cache 1\ntotal_cache 300\ntotal_inactive_file 192\n",
    "memory/web/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "cpu/web/cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 7000\n",
    "cpuacct/web/cpuacct.usage": "1500000\n",
    "cpuacct/web/cpuacct.usage_user": "1000000\n",
    "cpuacct/web/cpuacct.usage_sys": "500000\n",
    "pids/web/pids.current": "3\n",
    "pids/web/pids.max": "max\n",
    "blkio/web/blkio.throttle.io_service_bytes_recursive": "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n",
    "blkio/web/blkio.throttle.io_serviced_recursive": "8:0 Read 3\n8:0 Write 4\nTotal 7\n",
    "hugetlb/web/hugetlb.2MB.usage_in_bytes": "10\n",
    "hugetlb/web/hugetlb.2MB.max_usage_in_bytes": "20\n",
    "hugetlb/web/hugetlb.2MB.failcnt": "30\n",
}


def _write(files: dict[str, str], top: Path) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)


@pytest.fixture(params=["v1", "v2"])
def cgroups(request: pytest.FixtureRequest, tmp_path: Path) -> cgroup_v1.V1 | cgroup_v2.V2:
    """Both have used the same."""
    if request.param == "v2":
        _write({f"web/{name}": text for name, text in _V2.items()}, tmp_path)
        return cgroup_v2.V2(str(tmp_path))
    _write(_V1, tmp_path)
    names = ("memory", "cpu", "cpuacct", "pids", "blkio", "hugetlb")
    return cgroup_v1.V1({name: str(tmp_path / name) for name in names}, "")


def test_the_same_use_reads_the_same_on_both_versions(cgroups: cgroup_v1.V1 | cgroup_v2.V2) -> None:
    found = cgroup_stats.read(cgroups, "web")

    assert found.cpu == cgroup_stats.Cpu(1_500_000, 1_000_000, 500_000, 9, 4, 7000)
    memory = found.memory
    assert (memory.used, memory.most_used, memory.limit, memory.failures) == (8192, 9000, 16384, 3)
    assert (memory.swap_used, memory.swap_limit, memory.cache, memory.oom_kills) == (5, -1, 300, 1)
    assert memory.working_set == 8000
    assert found.pids == cgroup_stats.Pids(3, -1)
    assert found.devices == (cgroup_stats.Device(8, 0, 1, 2, 3, 4),)
    assert found.huge_pages == {"2MB": cgroup_stats.HugePages(10, 20, 30)}


def test_a_group_that_is_gone_has_used_nothing(cgroups: cgroup_v1.V1 | cgroup_v2.V2) -> None:
    found = cgroup_stats.read(cgroups, "gone")

    assert (found.cpu, found.memory.used, found.pids.current) == (cgroup_stats.Cpu(), 0, 0)
    assert (found.devices, found.huge_pages, found.pressure) == ((), {}, {})


def test_what_had_to_be_waited_for(tmp_path: Path) -> None:
    _write({"memory.pressure": _PRESSURE}, tmp_path)

    assert cgroup_stats.pressure(str(tmp_path)) == {
        "memory": cgroup_stats.Waiting(1.5, 2.0, 0.25, 0.1, 0.0, 0.0, 77, 5)
    }


def test_it_is_told_in_the_words_of_runc(cgroups: cgroup_v1.V1 | cgroup_v2.V2) -> None:
    told = cgroup_events.stats(cgroup_stats.read(cgroups, "web"), "c1")

    assert (told["type"], told["id"]) == ("stats", "c1")
    assert told["data"]["cpu"]["usage"]["total"] == 1_500_000
    assert told["data"]["memory"]["usage"] == {"limit": 16384, "usage": 8192, "max": 9000, "failcnt": 3}
    assert told["data"]["memory"]["swap"]["limit"] == (1 << 64) - 1
    assert {"major": 8, "minor": 0, "op": "Write", "value": 2} in told["data"]["blkio"][
        "ioServiceBytesRecursive"
    ]
    assert told["data"]["hugetlb"]["2MB"] == {"usage": 10, "max": 20, "failcnt": 30}
