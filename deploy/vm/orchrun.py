"""`make test-systemd-orchrun`: orchrun with systemd's cgroup manager, on an emulated machine that boots with it.

A container is a transient scope: its limits are systemd's and the cgroup's, and no unit is left of it. The same
on cgroup v1.
"""

import json
import signal
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.vm import callers, debian, installing, steps, supplies
from deploy.vm.machine import Machine

ORCHRUN = "orchrun --systemd-cgroup"
SLICE = "machine.slice"
UNIT = "box-one.scope"
GROUP = f"/{SLICE}/{UNIT}"
MOUNT = "/sys/fs/cgroup"
_LIMITS = {
    "memory": {"limit": 64 << 20, "swap": 64 << 20},
    "cpu": {"shares": 512, "quota": 33_333, "period": 100_000, "cpus": "0"},
    "pids": {"limit": 30},
}
_V1_WORDS = ("systemd.unified_cgroup_hierarchy=0", "systemd.legacy_systemd_cgroup_controller=1")


def main(versions: list[str]) -> int:
    """0 when all of it is so; of both versions of cgroups, unless one is named."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is below cleans up
    supplies.have_qemu()
    disk = debian.disk()
    failed = [version for version in map(int, versions or "21") if not _all_is_so(version, disk)]
    return 1 if failed else 0


def _all_is_so(version: int, disk: Path) -> bool:
    wanted, words = (STEPS, ()) if version == 2 else (V1_STEPS, _V1_WORDS)
    with tempfile.TemporaryDirectory(dir=supplies.CACHE) as scratch:
        tape = _cargo(Path(scratch))
        with Machine(f"cgroup-v{version}", disk, Path(scratch), tape, words=words) as machine:
            supplies.say(f"booted: cgroup v{version}, {machine.run('systemctl --version | head -n1')}")
            return steps.are_so(
                machine, wanted, "journalctl -b --no-pager -n 40; systemctl list-units '*.scope'"
            )


def orchrun_is_installed_and_has_a_bundle(machine: Machine) -> None:
    machine.run("mkdir -p /root/cargo && tar -C /root/cargo -xf /dev/vdb")
    installing.upgrade(machine)
    machine.run("ln -sf /opt/orch/bin/orchrun /usr/local/bin/orchrun")
    machine.run("mkdir -p /root/box/rootfs/bin /root/box/rootfs/proc && cd /root/box && orchrun spec")
    machine.run(
        "cd /root/box/rootfs && cp $(command -v busybox) bin/busybox && "
        "for name in sh sleep cat true; do ln -sf busybox bin/$name; done"
    )
    _bundle(machine)
    callers.unpack(machine)


def a_container_is_a_scope_with_its_limits(machine: Machine) -> None:
    _begin(machine, "run --detach")
    assert _shown(machine, "ActiveState", "Slice", "Delegate", "DefaultDependencies") == {
        "ActiveState": "active",
        "Slice": SLICE,
        "Delegate": "yes",
        "DefaultDependencies": "no",
    }
    assert _shown(machine, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "AllowedCPUs", "CPUWeight") == {
        "MemoryMax": str(64 << 20),
        "TasksMax": "30",
        "CPUQuotaPerSecUSec": "340ms",
        "AllowedCPUs": "0",
        "CPUWeight": "20",
    }
    assert machine.run(f"cat /proc/{_pid(machine)}/cgroup") == f"0::{GROUP}"
    _files_hold(machine)


def a_daemon_reload_undoes_nothing(machine: Machine) -> None:
    machine.run(
        "systemctl daemon-reload && systemctl daemon-reexec && systemctl set-property --runtime "
        f"{SLICE} CPUWeight=90"
    )
    assert _shown(machine, "ActiveState")["ActiveState"] == "active"
    for file, value in {"memory.max": str(64 << 20), "pids.max": "30", "cpu.weight": "20"}.items():
        assert machine.run(f"cat {MOUNT}{GROUP}/{file}") == value, file
    _device_rules_hold(machine)


def exec_joins_the_scope(machine: Machine) -> None:
    assert machine.run("orchrun exec one cat /proc/self/cgroup") == "0::/"
    machine.run("orchrun exec --detach one sleep 1000 < /dev/null > /root/said 2>&1")
    pids = machine.run(f"cat {MOUNT}{GROUP}/cgroup.procs").split()
    assert len(pids) == 2, pids
    assert machine.run("systemctl show -P TasksCurrent " + UNIT) == "2"


def update_changes_both(machine: Machine) -> None:
    machine.run(
        "orchrun update --memory 48m --memory-swap 48m --pids-limit 25 --cpu-quota 45678 "
        "--cpu-period 100000 one"
    )
    assert _shown(machine, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec") == {
        "MemoryMax": str(48 << 20),
        "TasksMax": "25",
        "CPUQuotaPerSecUSec": "460ms",
    }
    assert machine.run(f"cat {MOUNT}{GROUP}/memory.max") == str(48 << 20)
    assert machine.run(f"cat {MOUNT}{GROUP}/pids.max") == "25"
    assert machine.run(f"cat {MOUNT}{GROUP}/cpu.max") == "45678 100000"


def pause_and_resume_work_in_a_scope(machine: Machine) -> None:
    machine.run("orchrun pause one")
    assert json.loads(machine.run("orchrun state one"))["status"] == "paused"
    machine.run("orchrun resume one")
    assert json.loads(machine.run("orchrun state one"))["status"] == "running"


def delete_leaves_no_unit(machine: Machine) -> None:
    machine.run("orchrun delete --force one")
    _nothing_is_left(machine)


def a_container_that_ended_by_itself_leaves_no_unit(machine: Machine) -> None:
    said = machine.run(f"cd /root/short && {ORCHRUN} run one < /dev/null")
    assert said.endswith("0::/"), said
    _nothing_is_left(machine)
    _begin(machine, "create")
    assert json.loads(machine.run("orchrun state one"))["status"] == "created"
    machine.run("orchrun start one && orchrun kill one KILL")
    machine.until("orchrun state one | grep -q stopped")
    machine.run("orchrun delete one")
    _nothing_is_left(machine)


def a_unit_that_failed_before_makes_room(machine: Machine) -> None:
    machine.run(f"systemd-run --quiet --scope --unit={UNIT} -p RuntimeMaxSec=1 sleep 100; true")
    machine.until(f"systemctl is-failed {UNIT}")
    machine.run(f"cd /root/short && {ORCHRUN} run one < /dev/null")
    _nothing_is_left(machine)


def what_stops_the_scope_ends_the_container(machine: Machine) -> None:
    _begin(machine, "run --detach")
    machine.run(f"systemctl kill -s KILL {UNIT}")
    machine.until("orchrun state one | grep -q stopped")
    machine.run("orchrun delete one")
    _nothing_is_left(machine)


def the_message_bus_does_where_systemds_own_socket_is_hidden(machine: Machine) -> None:
    machine.run("systemctl start dbus && mv /run/systemd/private /run/systemd/private.away")
    try:
        machine.run(f"cd /root/short && {ORCHRUN} run one < /dev/null")
    finally:
        machine.run("mv /run/systemd/private.away /run/systemd/private")
    _nothing_is_left(machine)


def a_failed_start_leaves_no_unit(machine: Machine) -> None:
    code, said = machine.ask(f"cd /root/bad && {ORCHRUN} run one < /dev/null")
    assert code == 1, said
    assert "executable file not found" in said
    _nothing_is_left(machine)
    code, said = machine.ask(f"cd /root/path && {ORCHRUN} run one < /dev/null")
    assert code == 1
    assert "slice:prefix:name" in said


def a_start_costs_so_much(machine: Machine) -> None:
    """Told, not held: the machine is emulated."""
    script = "cd /root/short && time (for i in 1 2 3 4 5; do {0} run one < /dev/null > /dev/null; done)"
    for words in (ORCHRUN, "orchrun"):
        folder = "short" if words == ORCHRUN else "plain"
        took = (
            machine.run(script.format(words).replace("short", folder) + " 2>&1").split("real")[1].split()[0]
        )
        supplies.say(f"    5 × {words} run: {took}")


def a_scope_of_v1_has_its_limits(machine: Machine) -> None:
    _begin(machine, "run --detach")
    assert _shown(machine, "ActiveState", "MemoryLimit", "TasksMax") == {
        "ActiveState": "active",
        "MemoryLimit": str(64 << 20),
        "TasksMax": "30",
    }
    _v1_files_hold(machine)
    lines = machine.run(f"cat /proc/{_pid(machine)}/cgroup").splitlines()
    assert all(line.endswith(f":{GROUP}") for line in lines if not line.startswith("0::")), lines
    machine.run("systemctl daemon-reload")
    _v1_files_hold(machine)
    machine.run("orchrun update --memory 48m --memory-swap 48m --pids-limit 25 one")
    assert _shown(machine, "MemoryLimit", "TasksMax") == {"MemoryLimit": str(48 << 20), "TasksMax": "25"}
    assert machine.run(f"cat {MOUNT}/pids{GROUP}/pids.max") == "25"
    _device_rules_hold(machine)


COMMON = (
    delete_leaves_no_unit,
    a_container_that_ended_by_itself_leaves_no_unit,
    what_stops_the_scope_ends_the_container,
    a_failed_start_leaves_no_unit,
)
STEPS: tuple[steps.Step, ...] = (
    orchrun_is_installed_and_has_a_bundle,
    a_container_is_a_scope_with_its_limits,
    a_daemon_reload_undoes_nothing,
    exec_joins_the_scope,
    update_changes_both,
    pause_and_resume_work_in_a_scope,
    *COMMON,
    a_unit_that_failed_before_makes_room,
    the_message_bus_does_where_systemds_own_socket_is_hidden,
    a_start_costs_so_much,
    callers.podman_keeps_its_containers_in_scopes,
    callers.dockerd_keeps_its_containers_in_scopes,
)
V1_STEPS: tuple[steps.Step, ...] = (
    orchrun_is_installed_and_has_a_bundle,
    a_scope_of_v1_has_its_limits,
    delete_leaves_no_unit,
    what_stops_the_scope_ends_the_container,
)


def _cargo(to: Path) -> Path:
    """Today's orch, and the callers that this host has, with their libraries."""
    tape = to / "cargo.tar"
    with tempfile.TemporaryDirectory(dir=to) as scratch, tarfile.open(tape, "w") as archive:
        archive.add(debian.wheel(Path(scratch)), "orch-0.1.0-py3-none-any.whl")
        callers.pack(archive)
    return tape


def _bundle(machine: Machine) -> None:
    """Four: one that stays, one that tells its group and ends, one that cannot start, one of cgroupfs."""
    config = json.loads(machine.run("cat /root/box/config.json"))
    config["process"]["terminal"] = False
    config["process"]["args"] = ["sleep", "1000"]
    config["root"]["path"] = "/root/box/rootfs"
    config["linux"]["resources"] |= _LIMITS
    config["linux"]["cgroupsPath"] = f"{SLICE}:box:one"
    machine.put("/root/box/config.json", json.dumps(config))
    config["process"]["args"] = ["cat", "/proc/self/cgroup"]
    machine.put("/root/short/config.json", json.dumps(config))
    config["process"]["args"] = ["nothing-like-this"]
    machine.put("/root/bad/config.json", json.dumps(config))
    config["process"]["args"] = ["true"]
    config["linux"]["cgroupsPath"] = "/box/plain"
    machine.put("/root/path/config.json", json.dumps(config))
    machine.put("/root/plain/config.json", json.dumps(config))


def _begin(machine: Machine, words: str) -> None:
    """Its output goes to a file: what it holds open is waited for here."""
    command = f"cd /root/box && {ORCHRUN} {words} one < /dev/null > /root/said 2>&1"
    machine.run(f"{command} || {{ cat /root/said; false; }}")


def _shown(machine: Machine, *names: str) -> dict[str, str]:
    said = machine.run(f"systemctl show -p {','.join(names)} {UNIT}")
    return dict(line.split("=", 1) for line in said.splitlines())


def _pid(machine: Machine) -> int:
    return int(json.loads(machine.run("orchrun state one"))["pid"])


def _files_hold(machine: Machine) -> None:
    wanted = {
        "memory.max": str(64 << 20),
        "memory.swap.max": "0",
        "pids.max": "30",
        "cpu.max": "33333 100000",
        "cpu.weight": "20",
        "cpuset.cpus": "0",
    }
    for file, value in wanted.items():
        assert machine.run(f"cat {MOUNT}{GROUP}/{file}") == value, file


def _v1_files_hold(machine: Machine) -> None:
    wanted = {
        f"memory{GROUP}/memory.limit_in_bytes": str(64 << 20),
        f"pids{GROUP}/pids.max": "30",
        f"cpu{GROUP}/cpu.shares": "512",
        f"cpuset{GROUP}/cpuset.cpus": "0",
    }
    for file, value in wanted.items():
        assert machine.run(f"cat {MOUNT}/{file}") == value, file


def _device_rules_hold(machine: Machine) -> None:
    """The kernel's log is none of a container's business; null is."""
    dev = f"/proc/{_pid(machine)}/root/dev"
    machine.run(f"test -e {dev}/log || mknod {dev}/log c 1 11")
    assert "not permitted" in machine.ask("orchrun exec one sh -c 'echo hello > /dev/log'")[1]
    machine.run("orchrun exec one sh -c 'echo hello > /dev/null'")


def _nothing_is_left(machine: Machine) -> None:
    machine.until(f"! systemctl list-units --all --plain --no-legend '*.scope' | grep {UNIT}", 30)
    assert machine.run("orchrun list --quiet") == ""
    assert machine.run(f"find {MOUNT} -type d -name {UNIT}") == ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
