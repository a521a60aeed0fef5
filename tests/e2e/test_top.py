"""`orchctl top`: what tasks and nodes use, measured when somebody asks."""

import json

import pytest

from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {{name: {name}}}
spec:
  init: true
  stop: {{drainDelay: 0s, gracePeriod: 1s}}
  rollout: {{minReady: 0s}}
  containers:
    - name: main
      image: REGISTRY/web:1
      entrypoint: [/bin/sh, -c]
      command: ["{script}"]
      resources: {{limits: {{memory: 64Mi, cpu: 500m}}}}
    - {{name: side, image: REGISTRY/web:1, entrypoint: [/bin/sleep, "1000"]}}
"""


def usages(cluster: Dev, *what: str) -> list[dict[str, object]]:
    return list(json.loads(cluster.orchctl("top", *what, "-o", "json", errors=False))["items"])


def test_a_busy_task_is_told_from_an_idle_one(cluster: Dev) -> None:
    text = SERVICE.replace("  init: true\n", "")
    hold = "x=$(head -c 20000000 /dev/zero | tr '\\\\0' x); while :; do :; done"
    cluster.apply(text.format(name="busy", script=hold))
    cluster.apply(text.format(name="idle", script="exec sleep 1000"))

    found = {(each["name"], each["container"]): each for each in usages(cluster, "--interval", "2s")}

    busy, idle = found["busy.1.1", "main"], found["idle.1.1", ""]
    assert 0.02 < busy["cpu"] < 0.65, "it may use half a core, where others leave it one"
    assert idle["cpu"] < 0.05
    assert found["busy.1.1", ""]["cpu"] >= busy["cpu"] * 0.9
    assert int(busy["workingSet"]) > 15_000_000 > int(idle["workingSet"])
    assert int(busy["memoryLimit"]) == 64 << 20
    assert busy["cpuLimit"] == "500"
    assert int(idle["pids"]) >= 2
    assert {each["node"] for each in found.values()} <= {"node-1", "node-2", "node-3"}

    lines = cluster.orchctl("top", "busy", "idle", "--containers", "--sort", "cpu").splitlines()
    assert lines[0].split()[:4] == ["NAME", "NODE", "CPU", "CPU%"]
    assert [line.split()[0] for line in lines[1:]] == ["busy.1.1", "main", "side", "idle.1.1", "main", "side"]
    assert "no task of nope is on a node" in cluster.orchctl("top", "nope", expect=4)


def test_nodes_tell_what_their_machines_do(cluster: Dev) -> None:
    found = usages(cluster, "nodes")

    assert sorted(str(each["name"]) for each in found) == ["node-1", "node-2", "node-3"]
    for each in found:
        assert int(str(each["memoryLimit"])) > int(str(each["workingSet"])) > 10_000_000
        assert float(str(each["cpuSeconds"])) > 1
    assert cluster.orchctl("top", "node", "node-2", "--no-headers").split()[0] == "node-2"


def test_a_node_that_is_gone_is_told_and_the_others_are_shown(cluster: Dev) -> None:
    cluster.dev("kill", "node-3")
    try:
        said = cluster.orchctl("top", "nodes", expect=1)
    finally:
        cluster.dev("start", "node-3")
    assert "node-3 is not connected to the control plane" in said or "node-3 did not" in said
    assert "node-1" in said
    cluster.orchctl("wait", "node/node-3", "--for", "status=Ready", "--timeout", "40s")
