"""`orchctl logs`: through restarts, either stream alone, from a time on; and a flood that slows nobody else."""

import datetime as dt
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import dev
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {{name: {name}}}
spec:
  image: REGISTRY/web:1
  entrypoint: [/bin/sh, -c]
  command: ["{script}"]
  restart: {{backoff: 300ms, maxBackoff: 300ms}}
  stop: {{drainDelay: 0s, gracePeriod: 1s}}
  rollout: {{minReady: 0s}}
  placement: {{constraints: ["node.name == node-1"]}}
"""


def following(cluster: Dev, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"ORCH_CONFIG": str(cluster.config), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [dev.ORCHCTL, "logs", "-f", *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )


def memory(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_who_follows_goes_on_through_restarts_and_ends_with_the_task(cluster: Dev) -> None:
    cluster.apply(
        SERVICE.format(name="again", script="echo begin; sleep 0.5; echo end; exit 3"), "--wait=false"
    )
    deadline = time.monotonic() + 60
    while not any(task["restarts"] for task in cluster.tasks("again")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process = following(cluster, "again.1")
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(6)]
        assert lines == ["begin", "end"] * 3
        assert cluster.orchctl("logs", "again.1", "--previous").split() == ["begin", "end"]
        cluster.delete("svc/again")
        process.communicate(timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_one_stream_and_a_moment_are_chosen(cluster: Dev) -> None:
    script = "echo out1; echo err1 >&2; sleep 2; echo out2; echo err2 >&2; sleep 1000"
    cluster.apply(SERVICE.format(name="two", script=script))
    deadline = time.monotonic() + 20
    while "err2" not in cluster.orchctl("logs", "two.1"):
        assert time.monotonic() < deadline
        time.sleep(0.1)

    assert cluster.orchctl("logs", "two.1", "--stream", "stderr").split() == ["err1", "err2"]
    assert cluster.orchctl("logs", "two.1", "--stream", "stdout").split() == ["out1", "out2"]
    stamps = [line.split()[0] for line in cluster.orchctl("logs", "two.1", "-t").splitlines()]
    written = sorted(dt.datetime.fromisoformat(stamp) for stamp in stamps)
    assert 1.8 < (written[-1] - written[0]).total_seconds() < 10
    middle = written[0] + dt.timedelta(seconds=1)
    assert sorted(cluster.orchctl("logs", "two.1", "--since", middle.isoformat()).split()) == ["err2", "out2"]
    assert "is no time" in cluster.orchctl("logs", "two.1", "--since", "2026-13-45", expect=2)


def test_a_flood_slows_nobody_else_and_the_agent_stays_small(cluster: Dev) -> None:
    cluster.apply(SERVICE.format(name="flood", script="while :; do echo 0123456789012345678901234567; done"))
    cluster.apply(
        SERVICE.format(name="calm", script="while :; do head -c 12 /proc/uptime; echo; sleep 0.2; done")
    )
    agent = next(pid for name, pid in cluster.processes("node-1").items() if name.startswith("orch-agent"))
    before = memory(agent)
    flood = following(cluster, "flood.1")  # and nobody reads it
    calm = following(cluster, "calm.1", "--tail", "0")
    try:
        assert calm.stdout is not None
        waits = []
        for _ in range(15):
            said = float(calm.stdout.readline().split()[0])
            waits.append(time.clock_gettime(time.CLOCK_BOOTTIME) - said)
        assert sorted(waits)[7] < 2.0, waits
        assert memory(agent) - before < 24 << 20
    finally:
        for process in (flood, calm):
            process.kill()
            process.wait()
