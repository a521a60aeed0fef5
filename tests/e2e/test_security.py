"""What `security:` and its neighbours say is so inside the container, and `describe` says what it runs with."""

from pathlib import Path

import pytest

from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {{name: {name}}}
spec:
  image: REGISTRY/web:1
  stop: {{drainDelay: 0s, gracePeriod: 1s}}
  rollout: {{minReady: 0s, progressDeadline: 30s}}
  init: true
  entrypoint: [/bin/sleep]
  command: ["1000"]
{body}
"""
NET_RAW, NET_BIND_SERVICE = 13, 10


def inside(cluster: Dev, name: str, script: str) -> str:
    return cluster.orchctl("exec", name, "--", "sh", "-c", script, expect=None)


def own_capabilities() -> int:
    return int(
        next(
            line.split()[1]
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("CapPrm")
        ),
        16,
    )


def effective(cluster: Dev, name: str) -> int:
    """Capabilities of the main process, which a shell of the same container reads."""
    lines = inside(cluster, name, "cat /proc/1/status").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("CapEff")), 16)


def runs_with(cluster: Dev, what: str) -> str:
    lines = cluster.orchctl("describe", what).splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.strip().startswith("runs with:"))


def test_without_a_word_a_container_is_shut_in(cluster: Dev) -> None:
    cluster.apply(SERVICE.format(name="tight", body=""))

    assert not effective(cluster, "tight") >> NET_RAW & 1
    status = inside(cluster, "tight", "cat /proc/self/status")
    assert "NoNewPrivs:\t1" in status
    assert "Read-only" in inside(cluster, "tight", "echo 1 > /proc/sys/vm/swappiness")
    assert inside(cluster, "tight", "cat /proc/keys | wc -c").strip() == "0"
    assert (
        runs_with(cluster, "svc/tight") == "user namespace, seccomp default, usual capabilities, a tiny init"
    )
    assert runs_with(cluster, "task/tight.1").startswith("user namespace, seccomp default")


def test_each_key_changes_what_it_names_and_is_shown(cluster: Dev) -> None:
    body = """
  user: "1000"
  hostname: my-box
  shmSize: 1Mi
  ulimits: {nofile: "64:128", core: 0}
  volumes: [{type: tmpfs, target: /tmp}]
  security:
    capAdd: [CAP_NET_BIND_SERVICE]
    capDrop: [ALL]
    readOnly: true
    sysctls: {net.ipv4.ip_local_port_range: "4000 5000"}
"""
    cluster.apply(SERVICE.format(name="loose", body=body))

    assert effective(cluster, "loose") == 1 << NET_BIND_SERVICE
    assert "Read-only" in inside(cluster, "loose", "echo > /etc/x")
    assert inside(cluster, "loose", "echo 1 > /tmp/x && cat /tmp/x").strip() == "1"
    assert inside(cluster, "loose", "ulimit -n; ulimit -Hn; ulimit -c").split() == ["64", "128", "0"]
    assert inside(cluster, "loose", "hostname; cat /etc/hostname").split() == ["my-box", "my-box"]
    assert inside(cluster, "loose", "cat /proc/sys/net/ipv4/ip_local_port_range").split() == ["4000", "5000"]
    assert " size=1024k" in inside(cluster, "loose", "grep /dev/shm /proc/mounts").replace(",", " ")
    said = runs_with(cluster, "svc/loose")
    assert "capabilities -ALL +NET_BIND_SERVICE, read-only root" in said
    assert "core 0, nofile 64:128, 1.0MiB of /dev/shm" in said


def test_privileged_gives_all_and_says_so(cluster: Dev) -> None:
    cluster.apply(SERVICE.format(name="free", body="  security: {privileged: true}"))

    assert effective(cluster, "free") == own_capabilities()
    assert "NoNewPrivs:\t0" in inside(cluster, "free", "cat /proc/self/status")
    assert inside(cluster, "free", "awk '$2 == \"/sys\" {print $4}' /proc/mounts").startswith("rw")
    assert runs_with(cluster, "svc/free").startswith("privileged: all that root of the node may")
    devices = {
        path.name for path in Path("/dev").iterdir() if path.is_char_device() or path.is_block_device()
    }
    missing = devices - set(inside(cluster, "free", "ls /dev").split())
    assert missing <= {"console"}  # a terminal's, if it has one
    assert inside(cluster, "free", "head -c 0 /dev/loop0") == ""
    assert inside(cluster, "free", "mknod /tmp/l b 7 0 && head -c 0 /tmp/l") == ""


def test_a_mistake_in_it_is_told_with_its_place(cluster: Dev) -> None:
    said = cluster.apply(
        SERVICE.format(name="wrong", body="  security: {capAdd: [NET_ADMN], seccomp: none}"), expect=2
    )

    assert '"NET_ADMN" is not a capability — did you mean "NET_ADMIN"?' in said
    assert '"seccomp" must be one of default, unconfined' in said
    assert ".yaml:12:23:" in said
    assert "NET_RAW, SYS_PTRACE" in cluster.orchctl("explain", "service.security.capAdd")
