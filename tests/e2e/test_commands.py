"""`orchctl exec` under load and when things go away: nothing piles up, nothing stays behind, all is told."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import dev
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {name: box}
spec:
  image: REGISTRY/web:1
  init: true
  entrypoint: [/bin/sleep]
  command: ["1000"]
  stop: {drainDelay: 0s, gracePeriod: 1s}
  rollout: {minReady: 0s}
  placement: {constraints: ["node.name == node-2"]}
"""
_MEBIBYTE = 1 << 20


def started(cluster: Dev, *arguments: str, **more: object) -> subprocess.Popen[bytes]:
    environment = os.environ | {"ORCH_CONFIG": str(cluster.config)}
    return subprocess.Popen([dev.ORCHCTL, *arguments], env=environment, **more)  # type: ignore[call-overload,no-any-return]


def zeros() -> int:
    """More input than anybody can take."""
    return os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC)


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def inside(cluster: Dev, script: str) -> str:
    return cluster.orchctl("exec", "box", "--", "sh", "-c", script)


def agent(cluster: Dev) -> int:
    return next(pid for name, pid in cluster.processes("node-2").items() if name.startswith("orch-agent"))


def memory(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_who_does_not_read_makes_the_other_side_wait_and_nobody_grow(cluster: Dev) -> None:
    cluster.apply(SERVICE)
    before = memory(agent(cluster))

    flood = started(cluster, "exec", "box", "--", "sh", "-c", "yes; true", stdout=subprocess.PIPE)
    full = started(cluster, "exec", "-i", "box", "--", "sleep", "1000", stdin=zeros())
    try:
        assert flood.stdout is not None
        assert flood.stdout.read(4) == b"y\ny\n"
        time.sleep(3)  # time enough for what has no bound to grow
        assert memory(agent(cluster)) - before < 24 * _MEBIBYTE
        assert memory(full.pid) < 120 * _MEBIBYTE
        assert memory(flood.pid) < 120 * _MEBIBYTE
    finally:
        for process in (flood, full):
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)
    until(lambda: "yes" not in inside(cluster, "ps"), "the flood goes on without its user")
    until(
        lambda: "sleep 1000\n" not in inside(cluster, "ps | grep -v PID | tail -n +3"), "it was left behind"
    )


def test_a_user_who_goes_while_his_command_does_not_read_takes_it_along(cluster: Dev) -> None:
    cluster.apply(SERVICE)
    process = started(cluster, "exec", "-i", "box", "--", "sleep", "777", stdin=zeros())
    until(lambda: "sleep 777" in inside(cluster, "ps"), "it never began")
    time.sleep(1)  # so that every buffer on the way is full

    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=10) == 130
    until(lambda: "sleep 777" not in inside(cluster, "ps"), "the command was left behind")


def test_user_directory_variables_and_container_are_as_asked(cluster: Dev) -> None:
    cluster.apply(SERVICE)
    assert cluster.orchctl(
        "exec", "-u", "7:8", "-w", "/tmp", "-e", "A=b c", "task/box.1", "-c", "main", "--", "sh", "-c",
        "id -u; id -g; pwd; echo $A",
    ).split("\n")[:4] == ["7", "8", "/tmp", "b c"]  # fmt: skip
    assert "it has main" in cluster.orchctl("exec", "-c", "nope", "box", "--", "true", expect=4)
    assert "not in the image's /etc/passwd" in cluster.orchctl(
        "exec", "-u", "who", "box", "--", "true", expect=126
    )
    assert cluster.orchctl("exec", "box", "--", "sh", "-c", "kill -9 $$", expect=137) == ""


def test_an_agent_that_goes_away_is_told_and_ends_the_command(cluster: Dev) -> None:
    cluster.apply(SERVICE)
    process = started(
        cluster, "exec", "box", "--", "sleep", "778", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until(lambda: "sleep 778" in inside(cluster, "ps"), "it never began")

    os.kill(agent(cluster), signal.SIGKILL)
    try:
        _, said = process.communicate(timeout=20)
    finally:
        cluster.restart_agent("node-2")

    assert process.returncode == 1
    assert b"what became of it is unknown" in said
    cluster.orchctl("wait", "svc/box", "--timeout", "30s")

    def is_gone() -> bool:
        return "sleep 778" not in cluster.orchctl("exec", "box", "--", "ps", expect=None)

    until(is_gone, "the command was left behind")


def test_a_control_plane_that_goes_away_is_told_and_ends_the_command(cluster: Dev) -> None:
    cluster.apply(SERVICE)
    process = started(cluster, "exec", "box", "--", "sleep", "779", stderr=subprocess.PIPE)
    until(lambda: "sleep 779" in inside(cluster, "ps"), "it never began")
    control = next(pid for name, pid in cluster.processes("control").items() if "controlplane" in name)

    os.kill(control, signal.SIGKILL)
    try:
        _, said = process.communicate(timeout=20)
    finally:
        cluster.restart_control()

    assert process.returncode == 3
    assert b"no control plane answers" in said

    def is_gone() -> bool:
        found = cluster.orchctl("exec", "box", "--", "ps", expect=None)
        return "PID" in found and "sleep 779" not in found

    until(is_gone, "the command was left behind")
