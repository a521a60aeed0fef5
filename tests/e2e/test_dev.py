"""Clusters on one machine: side by side, killed, crashed, and gone without a trace."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from cli.dev import cluster as clusters
from cli.dev import processes
from tests.support import dev
from tests.support.dev import Dev
from tests.support.machine import a_machine

pytestmark = pytest.mark.cluster

WEB = """
apiVersion: orch/v1
kind: Service
metadata: {name: web}
spec:
  image: REGISTRY/web:1
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s, gracePeriod: 1s}
"""


def traces(name: str, index: int) -> list[str]:
    """Whatever the kernel or a directory still knows of a cluster."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    found = [
        line for line in links.splitlines() if f"orch-lan{index}:" in line or f"orch-lan{index}@" in line
    ]
    netns = Path("/run/netns")
    found += [path.name for path in netns.glob(f"orch-{name}*")] if netns.exists() else []
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"/{name}/" in line]
    found += [str(path) for path in (clusters.STATE_ROOT / name, clusters.RUN_ROOT / name) if path.exists()]
    groups = subprocess.run(
        ["find", "/sys/fs/cgroup", "-maxdepth", "4", "-path", f"*orch-dev/{name}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [*found, *groups.stdout.split(), *map(str, processes.marked(name))]


def runs(pid: int) -> bool:
    """Whoever has ended and was not yet buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_second_cluster_knows_nothing_of_the_first_and_leaves_nothing(cluster: Dev) -> None:
    cluster.apply(WEB)
    with dev.running(nodes=1, suffix="b") as second:
        second.push("web:1")
        second.apply(WEB)
        assert len(second.items("nodes")) == 1
        assert len(cluster.items("nodes")) == 3
        (ours,) = second.tasks("web")
        (theirs,) = cluster.tasks("web")
        assert ours["containers"][0]["pid"] != theirs["containers"][0]["pid"]
        listing = second.orchctl("dev", "status")
        assert cluster.cluster.name in listing
        assert second.cluster.name in listing
    assert traces(second.cluster.name, second.cluster.index) == []
    assert cluster.orchctl("exec", "web", "--", "cat", "/www/version").strip() == "1"


def test_the_control_plane_keeps_its_address_on_the_lan_whoever_comes_and_goes(cluster: Dev) -> None:
    def mac() -> str:
        shown = ["ip", "-n", cluster.cluster.lan, "-json", "link", "show", "lan"]
        return str(json.loads(subprocess.run(shown, capture_output=True, check=True).stdout)[0]["address"])

    before = mac()
    with a_machine(cluster):
        lowest = ["ip", "-n", cluster.cluster.lan, "link", "set", "port-4", "address", "00:00:00:00:00:01"]
        subprocess.run(lowest, check=True)
        assert mac() == before
    assert mac() == before


@pytest.mark.parametrize("part", ["control", "node-1", "everything"])
def test_down_leaves_nothing_also_when_parts_have_crashed(part: str, cluster: Dev) -> None:
    with dev.running(nodes=1, suffix="c") as crashed:
        crashed.push("web:1")
        crashed.apply(WEB)
        (task,) = crashed.tasks("web")
        for pid in processes.marked(crashed.cluster.name, "" if part == "everything" else part):
            if pid != task["containers"][0]["pid"]:
                os.kill(pid, signal.SIGKILL)
    assert traces(crashed.cluster.name, crashed.cluster.index) == []
    assert not runs(task["containers"][0]["pid"])


def test_a_dead_and_a_hung_control_plane_are_told_within_three_seconds() -> None:
    with dev.running(nodes=1, suffix="d") as ours:
        control = next(pid for line, pid in ours.processes("control").items() if "orch-controlplane" in line)
        address = f"{ours.cluster.control_address}:{clusters.SESSION_PORT}"
        for signum in (signal.SIGSTOP, signal.SIGKILL):
            os.kill(control, signum)
            took, said = ours.seconds("get", "nodes", expect=3)
            assert took < 3
            assert address in said


def test_on_an_empty_machine_not_even_the_mount_of_namespaces_stays(tmp_path: Path) -> None:
    script = f"""
set -e
umount --lazy --recursive /run/netns 2>/dev/null || true
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
ip link set lo up
export ORCH_CONFIG={tmp_path}/config
{dev.ORCHCTL} dev up --name empty --nodes 1 >&2
{dev.ORCHCTL} get nodes | grep Ready >&2
{dev.ORCHCTL} dev down --name empty >&2
find /run /var/lib -mindepth 1 | grep -v '^/run/mount$' || true
ip -o link | grep -v ' lo:' || true
"""
    done = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
