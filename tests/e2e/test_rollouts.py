"""Canaries of every kind, and the orders that a user gives to a rollout."""

from typing import Any

import pytest

from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SPEC = """
apiVersion: orch/v1
kind: Service
metadata: {name: web}
spec:
  replicas: 4
  image: REGISTRY/web:VERSION
  readiness: {http: {path: /healthz, port: 8080}, period: 1s}
  stop: {drainDelay: 0s, gracePeriod: 2s}
  restart: {backoff: 100ms}
  rollout: {maxSurge: 1, maxUnavailable: 1, minReady: 0s, progressDeadline: 60s, CANARY}
"""


def a_version(version: str, steps: str = "", promote: str = "auto") -> str:
    canary = f"canary: {{steps: [{steps}], promote: {promote}}}" if steps else "historyLimit: 10"
    return SPEC.replace("VERSION", version).replace("CANARY", canary)


def revisions(cluster: Dev) -> list[int]:
    return sorted(task["revision"] for task in cluster.tasks("web") if task["ready"])


def staying(cluster: Dev) -> list[dict[str, Any]]:
    """Those that are not on their way out: who is replaced may take a moment to stop."""
    return [task for task in cluster.tasks("web") if task["wanted"] == "run"]


def test_a_canary_by_count_and_percent_goes_on_by_itself(cluster: Dev) -> None:
    cluster.apply(a_version("1"))
    said = cluster.apply(a_version("2", "{count: 1, bake: 300ms}, {percent: 50, bake: 300ms}"))
    assert "baking" in said
    assert revisions(cluster) == [2, 2, 2, 2]
    assert "step 1 of 2" in cluster.told("step 2 of 2", "events", "svc/web")


def test_a_canary_by_labels_waits_for_the_users_word(cluster: Dev) -> None:
    cluster.apply(a_version("1"))
    said = cluster.apply(a_version("2", "{nodes: {matchLabels: {ring: canary}}, bake: 200ms}", "manual"))
    assert "orchctl rollout promote web" in said
    assert {task["node"] for task in staying(cluster) if task["revision"] == 2} == {"node-3"}
    assert {task["node"] for task in staying(cluster) if task["revision"] == 1} == {"node-1", "node-2"}
    status = cluster.orchctl("rollout", "status", "web")
    assert "canary 1" in status
    assert "1 → 2" in status

    cluster.orchctl("rollout", "pause", "web")
    cluster.orchctl("rollout", "promote", "web", "--wait=false")
    assert "paused by the user" in cluster.orchctl("rollout", "status", "web")
    assert 1 in revisions(cluster)
    cluster.orchctl("rollout", "resume", "web")
    cluster.orchctl("rollout", "status", "web", "-w", "--timeout", "60s")
    assert revisions(cluster) == [2, 2, 2, 2]


def test_a_broken_canary_on_a_named_node_goes_back_and_nothing_else_was_touched(cluster: Dev) -> None:
    cluster.apply(a_version("1"))
    elsewhere = {task["name"] for task in cluster.tasks("web") if task["node"] != "node-2"}
    broken = a_version("3-broken", "{nodes: [node-2], bake: 200ms}").replace("60s", "3s")
    said = cluster.apply(broken, expect=1)
    assert "no such table: carts" in said
    assert "rolled back: revision 1 runs, 4/4 ready" in said
    assert elsewhere <= {task["name"] for task in cluster.tasks("web")}
    assert "RolledBack" in cluster.orchctl("get", "services")
    assert "failed" in cluster.orchctl("rollout", "history", "web")


def test_the_next_apply_during_a_canary_begins_a_canary_of_its_own(cluster: Dev) -> None:
    cluster.apply(a_version("1"))
    cluster.apply(a_version("2", "{count: 1, bake: 100ms}", "manual"))
    said = cluster.apply(a_version("4", "{count: 1, bake: 100ms}", "manual"))
    assert "1 of revision 3" in said, "it was not told of the canary before"
    assert revisions(cluster) == [1, 1, 1, 3]
    cluster.orchctl("rollout", "abort", "web")
    cluster.wait("svc/web", "status=RolledBack")
    assert revisions(cluster) == [1, 1, 1, 1]
    assert "no rollout of web is under way" in cluster.orchctl("rollout", "promote", "web", expect=4)


def test_a_rollout_that_can_never_work_is_refused_at_apply(cluster: Dev) -> None:
    body = (
        a_version("1").replace("maxUnavailable: 1", "maxUnavailable: 0").replace("replicas: 4", "replicas: 3")
    )
    body += "  placement: {maxPerNode: 1}\n"
    assert "would be refused" in cluster.apply(body)
    said = cluster.apply(body.replace("web:1", "web:2"), expect=2)
    assert "maxUnavailable 0 cannot work" in said
    assert revisions(cluster) == [1, 1, 1]
    said = cluster.apply(a_version("2", "{percent: 10}"), expect=2)
    assert "rounds to none" in said


def test_restart_set_and_undo_are_rollouts(cluster: Dev) -> None:
    cluster.apply(a_version("1"))
    before = {task["name"] for task in cluster.tasks("web")}
    cluster.orchctl("rollout", "restart", "web")
    assert not before & {task["name"] for task in staying(cluster)}
    cluster.orchctl("set", "image", "web", f"{cluster.cluster.registry_address}/web:2")
    cluster.orchctl("set", "env", "web", "A=b")
    assert cluster.orchctl("exec", "web", "--", "sh", "-c", "echo $A; cat /www/version").split() == ["b", "2"]
    cluster.orchctl("rollback", "web", "--to", "1")
    assert cluster.orchctl("exec", "web", "--", "cat", "/www/version").strip() == "1"
    assert "undo to revision 1" in cluster.orchctl("rollout", "history", "web")
    assert "there are" in cluster.orchctl("rollout", "undo", "web", "--to", "99", expect=4)
