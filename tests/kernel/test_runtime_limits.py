"""Limits as the kernel has them: written where it reads them, felt by the payload, and seen from inside."""

from pathlib import Path
from typing import Any

import pytest

from agent.runtime import cgroup, cgroup_v2, container, copyup, mounts

pytestmark = pytest.mark.root

_V2 = {"memory.max": "33554432", "cpu.max": "25000 100000", "cpu.weight": "20", "pids.max": "17"}
_V1 = {
    "memory.limit_in_bytes": "33554432",
    "cpu.cfs_quota_us": "25000",
    "cpu.shares": "512",
    "pids.max": "17",
}


async def test_limits_are_what_the_kernel_holds(bench: Any) -> None:
    expected = _V2 if isinstance(cgroup.detect(), cgroup_v2.V2) else _V1
    limits = {"memory_bytes": 32 << 20, "cpu_cores": 0.25, "cpu_shares": 512, "pids": 17}

    running = await bench.launch("sleep", "60", **limits)

    assert _read(bench, running.container, *expected) == expected


@pytest.mark.parametrize("first_id", [0, 700_000])
async def test_two_mebibytes_are_enough_to_start_and_what_the_start_took_is_given_back(
    bench: Any, first_id: int
) -> None:
    """On cgroup v2 the runtime itself counts until the payload is executed: it is born in the group."""
    launch = bench.launch_of("sh", "-c", "echo up; exec sleep 60", memory_bytes=2 << 20)
    if first_id:
        ids = [{"containerID": 0, "hostID": first_id, "size": 65536}]
        launch.config["linux"] |= {"uidMappings": ids, "gidMappings": ids}
        launch.config["linux"]["namespaces"].append({"type": "user"})

    running = await bench.runtime.launch(launch)
    await bench.heard(running.container, "up")

    assert (await bench.runtime.usage(running.container)).memory_bytes < 1 << 20


async def test_swap_is_no_way_round_the_memory_limit(bench: Any) -> None:
    running = await bench.launch("sleep", "60", memory_bytes=32 << 20)

    found = _read(bench, running.container, "memory.swap.max", "memory.memsw.limit_in_bytes")
    if not found:
        pytest.skip("this kernel does not count swap")
    assert set(found.values()) <= {"0", "33554432"}  # v2 counts swap alone, v1 swap and memory together


async def test_who_would_use_more_than_its_cpus_is_throttled(bench: Any) -> None:
    stat = "/sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu*/cpu.stat"
    work = f"until grep -qs 'nr_throttled [1-9]' {stat}; do true; done; echo slowed"

    exited, said = await bench.run(work, cpu_cores=0.05)

    assert (exited.exit_code, said) == (0, "slowed")


async def test_a_container_can_read_its_own_limit(bench: Any) -> None:
    places = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    _, said = await bench.run(f"cat {places} 2>/dev/null", memory_bytes=32 << 20)

    assert said == "33554432"


async def test_the_main_process_outlives_the_oom_kill_of_a_child(bench: Any) -> None:
    script = "dd if=/dev/zero of=/dev/null bs=200M count=1; echo child $?; exit 0"
    exited, said = await bench.run(script, memory_bytes=32 << 20)

    assert "child 137" in said
    assert (exited.exit_code, exited.oom_killed) == (0, False)


async def test_a_limit_that_the_kernel_refuses_is_told_by_its_key(bench: Any) -> None:
    launch = bench.launch_of("true")
    launch.config["linux"]["resources"]["cpu"] = {"quota": 5000, "period": 9_000_000}

    with pytest.raises(
        container.LaunchFailed, match=r"linux\.resources\.cpu\.(period|quota) .*9000000"
    ) as refused:
        await bench.runtime.launch(launch)

    assert refused.value.step == "cgroup"


async def test_a_volume_is_not_filled_before_the_limits_are_there(bench: Any, tmp_path: Path) -> None:
    """They are set while the root is made; what is refused then must not leave half of an image in a volume."""
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(copyup.UNFILLED)
    launch = bench.launch_of("true")
    launch.config["mounts"].append(
        {
            "destination": "/bin",
            "type": "bind",
            "source": str(volume),
            "options": ["bind", mounts.FILLED_ONCE],
        }
    )
    launch.config["linux"]["resources"]["cpu"] = {"quota": 5000, "period": 9_000_000}
    with pytest.raises(container.LaunchFailed):
        await bench.runtime.launch(launch)
    assert list(volume.iterdir()) == []

    del launch.config["linux"]["resources"]["cpu"]
    await bench.runtime.launch(launch)
    assert (volume / "busybox").exists()


def _read(bench: Any, container: str, *names: str) -> dict[str, str]:
    return {name: text.strip() for name in names for text in _reads(bench, container, name)}


def _reads(bench: Any, container: str, name: str) -> list[str]:
    """The file in every hierarchy that has it."""
    groups = [Path(group) for group in bench.groups() if group.endswith(f"/{container}")]
    return [file.read_text() for group in groups if (file := group / name).exists()]
