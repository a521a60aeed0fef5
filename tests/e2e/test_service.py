"""A service from apply to gone, as a user sees it."""

import os
import signal

import pytest

from tests.support import live_tree
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

WEB = """
apiVersion: orch/v1
kind: Service
metadata: {name: web}
spec:
  replicas: 3
  image: REGISTRY/web:1
  ports: [{name: http, target: 8080, published: 30080, mode: host}]
  readiness: {http: {path: /healthz, port: http}, period: 1s}
  placement: {maxPerNode: 1}
  stop: {drainDelay: 0s, gracePeriod: 5s}
  rollout: {maxSurge: 0, maxUnavailable: 1, minReady: 0s, progressDeadline: 60s}
"""


def version(number: str) -> str:
    return WEB.replace("web:1", f"web:{number}")


def test_three_replicas_serve_on_three_nodes(cluster: Dev) -> None:
    said = cluster.apply(WEB)

    assert "serving" in said
    tasks = cluster.tasks("web")
    assert {task["node"] for task in tasks} == {"node-1", "node-2", "node-3"}
    assert [cluster.fetch(node, 30080) for node in (1, 2, 3)] == ["1", "1", "1"]


def test_the_same_apply_again_changes_nothing(cluster: Dev) -> None:
    cluster.apply(WEB)
    before = cluster.tasks("web")

    assert "unchanged" in cluster.apply(WEB)
    assert [task["startedAt"] for task in cluster.tasks("web")] == [task["startedAt"] for task in before]
    cluster.orchctl("diff", "-f", cluster.manifest(WEB))
    cluster.orchctl("diff", "-f", cluster.manifest(version("2")), expect=1)


def test_a_killed_container_comes_back_in_place(cluster: Dev) -> None:
    cluster.apply(WEB)
    (before,) = [task for task in cluster.tasks("web") if task["slot"] == "web.2"]
    os.kill(before["containers"][0]["pid"], signal.SIGKILL)
    cluster.wait("task/web.2", "jsonpath={.status.containers[0].restarts}=1")
    cluster.wait("task/web.2")

    (after,) = [task for task in cluster.tasks("web") if task["slot"] == "web.2"]
    assert after["name"] == before["name"]
    assert after["addresses"] == before["addresses"]


def test_a_rolling_update_reaches_every_node(cluster: Dev) -> None:
    cluster.apply(WEB)
    cluster.apply(version("2"))

    assert [cluster.fetch(node, 30080) for node in (1, 2, 3)] == ["2", "2", "2"]
    history = cluster.orchctl("rollout", "history", "web")
    assert "succeeded" in history


def test_a_broken_version_rolls_back_and_says_why(cluster: Dev) -> None:
    cluster.apply(WEB)
    said = cluster.apply(version("3-broken").replace("60s", "4s"), expect=1)

    assert "exit code 3" in said
    assert "orders.db: no such table: carts" in said
    assert "rolled back: revision 1" in said
    assert [cluster.fetch(node, 30080) for node in (1, 2, 3)] == ["1", "1", "1"]
    cluster.told("RolledBack", "events", "web")


def test_undo_brings_the_version_before(cluster: Dev) -> None:
    cluster.apply(WEB)
    cluster.apply(version("2"))
    cluster.orchctl("rollout", "undo", "web")

    assert [cluster.fetch(node, 30080) for node in (1, 2, 3)] == ["1", "1", "1"]


def test_a_canary_touches_only_its_node_until_it_is_promoted(cluster: Dev) -> None:
    cluster.apply(WEB)
    before = {task["node"]: task["name"] for task in cluster.tasks("web")}
    canary = (
        version("4")
        + "    canary: {steps: [{nodes: {matchLabels: {ring: canary}}, bake: 1s}], promote: manual}\n"
    )
    canary = canary.replace(
        "rollout: {maxSurge: 0, maxUnavailable: 1, minReady: 0s, progressDeadline: 60s}",
        "rollout:\n    maxSurge: 0\n    maxUnavailable: 1\n    minReady: 0s\n    progressDeadline: 60s",
    )
    cluster.apply(canary)

    assert [cluster.fetch(node, 30080) for node in (1, 2, 3)] == ["1", "1", "4"]
    now = {task["node"]: task["name"] for task in cluster.tasks("web")}
    assert (now["node-1"], now["node-2"]) == (before["node-1"], before["node-2"])
    assert now["node-3"] != before["node-3"]

    cluster.orchctl("rollout", "promote", "web")
    assert [cluster.fetch(node, 30080) for node in (1, 2, 3)] == ["4", "4", "4"]


def test_an_aborted_canary_goes_back(cluster: Dev) -> None:
    cluster.apply(WEB)
    spec = version("4").replace(
        "progressDeadline: 60s}",
        "progressDeadline: 60s, canary: {steps: [{nodes: [node-2], bake: 1s}], promote: manual}}",
    )
    cluster.apply(spec)
    assert cluster.fetch(2, 30080) == "4"

    cluster.orchctl("rollout", "abort", "web", expect=None)
    cluster.wait("svc/web", "jsonpath={.status.rollout.phase}=done")
    assert [cluster.fetch(node, 30080) for node in (1, 2, 3)] == ["1", "1", "1"]


def test_scale_up_and_down_and_the_next_apply_keeps_it(cluster: Dev) -> None:
    spec = (
        WEB.replace("  replicas: 3\n", "")
        .replace(", published: 30080, mode: host", "")
        .replace("maxPerNode: 1", "")
    )
    cluster.apply(spec)
    cluster.orchctl("scale", "web", "--replicas", "5")
    assert len(cluster.tasks("web")) == 5
    cluster.apply(spec)
    assert len(cluster.tasks("web")) == 5
    cluster.orchctl("scale", "web", "--replicas", "2")
    cluster.wait("svc/web", "jsonpath={.status.running}=2")


def test_logs_and_exec_reach_a_container(cluster: Dev) -> None:
    cluster.apply(
        """
apiVersion: orch/v1
kind: Service
metadata: {name: talk}
spec:
  image: REGISTRY/web:1
  entrypoint: [/bin/sh, -c, "echo out; echo err >&2; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s}
"""
    )
    logs = cluster.orchctl("logs", "talk")
    assert "out" in logs
    assert "err" in logs
    assert cluster.orchctl("exec", "talk.1", "--", "echo", "hello").strip() == "hello"
    assert cluster.orchctl("exec", "-i", "talk.1", "--", "cat", stdin="through\n").strip() == "through"
    cluster.orchctl("exec", "talk.1", "--", "sh", "-c", "exit 7", expect=7)


def test_configs_and_secrets_are_files_and_a_new_config_is_a_new_revision(cluster: Dev) -> None:
    text = """
apiVersion: orch/v1
kind: Config
metadata: {name: motd}
data: {motd: "first"}
---
apiVersion: orch/v1
kind: Secret
metadata: {name: db}
data: {password: "hunter2-secret"}
---
apiVersion: orch/v1
kind: Service
metadata: {name: reader}
spec:
  image: REGISTRY/web:1
  configs: [{source: motd, target: /etc/motd}]
  secrets: [{source: db, key: password}]
  rollout: {minReady: 0s}
  stop: {drainDelay: 0s}
"""
    try:
        cluster.apply(text)
        assert cluster.orchctl("exec", "reader.1", "--", "cat", "/etc/motd") == "first"
        assert cluster.orchctl("exec", "reader.1", "--", "cat", "/run/secrets/password") == "hunter2-secret"
        assert "hunter2" not in cluster.orchctl("get", "secrets", "-o", "json")
        state = cluster.cluster.state
        for path, content in live_tree.contents(state):
            assert b"hunter2-secret" not in content, f"a secret lies in clear in {path}"

        cluster.apply(text.replace('"first"', '"second"'))
        assert cluster.orchctl("exec", "reader.1", "--", "cat", "/etc/motd") == "second"
    finally:
        cluster.orchctl("delete", "svc/reader", expect=None)
        cluster.orchctl("delete", "cm/motd", "sec/db", expect=None)


def test_tasks_reach_each_other_by_name(cluster: Dev) -> None:
    cluster.apply(WEB.replace(", published: 30080, mode: host", ""))
    for name in ("web", "tasks.web", "web.default.orch", "2.web"):
        said = cluster.orchctl("exec", "web.1", "--", "wget", "-q", "-O", "-", f"http://{name}:8080/version")
        assert said.strip() == "1", name
