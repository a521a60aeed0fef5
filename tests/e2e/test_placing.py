"""Where tasks go, and why."""

from collections import Counter

import pytest

from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SPEC = """
apiVersion: orch/v1
kind: Service
metadata: {name: NAME}
spec:
  image: REGISTRY/web:1
  rollout: {minReady: 0s, maxSurge: 0, maxUnavailable: 1}
  stop: {drainDelay: 0s, gracePeriod: 1s}
"""


def a_service(body: str, name: str = "placed") -> str:
    return SPEC.replace("NAME", name) + "".join(f"  {line}\n" for line in body.splitlines())


def nodes_of(cluster: Dev, name: str = "placed") -> list[str]:
    return sorted(task["node"] for task in cluster.tasks(name) if task["ready"])


@pytest.fixture(autouse=True)
def _zones(cluster: Dev):
    cluster.orchctl("label", "node-1", "zone=a")
    cluster.orchctl("label", "node-2", "node-3", "zone=b")
    yield
    cluster.orchctl("label", "node-1", "node-2", "node-3", "zone-")


def test_selectors_constraints_and_limits_per_node_choose_and_say_what_they_refuse(cluster: Dev) -> None:
    body = (
        "replicas: 2\nplacement: {nodeSelector: {zone: b}, constraints: [node.name != node-2], maxPerNode: 1}"
    )
    cluster.apply(a_service(body), "--timeout", "2s", expect=1)
    assert nodes_of(cluster) == ["node-3"]
    why = cluster.orchctl("why", "placed")
    for words in (
        "node-1: without the label zone=b",
        "node-2: not node.name != node-2",
        "node-3: maxPerNode 1 reached",
    ):
        assert words in why
    assert "it would fit: raise maxPerNode above 1" in why


def test_spreading_goes_over_the_values_of_a_label_first(cluster: Dev) -> None:
    cluster.apply(a_service("replicas: 4\nplacement: {spread: [zone]}"))
    count = Counter(nodes_of(cluster))
    assert count == {"node-1": 2, "node-2": 1, "node-3": 1}


def test_resources_are_set_aside_and_the_more_urgent_goes_first(cluster: Dev) -> None:
    memory = cluster.items("nodes")[0]["status"]["facts"]["memory"] * 3 // 5 // 2**20
    big = f"replicas: 3\nresources: {{requests: {{memory: {memory}Mi}}}}"
    cluster.apply(a_service(big))
    assert nodes_of(cluster) == ["node-1", "node-2", "node-3"]
    for name, priority in (("low", 0), ("high", 10)):
        body = f"priority: {priority}\nresources: {{requests: {{memory: {memory}Mi}}}}"
        cluster.apply(a_service(body, name), "--wait=false")
    assert "without enough memory" in cluster.orchctl("why", "low")
    cluster.orchctl("scale", "placed", "2")
    cluster.wait("svc/high")
    assert nodes_of(cluster, "low") == []


def test_taints_keep_away_all_that_do_not_tolerate_them(cluster: Dev) -> None:
    cluster.orchctl("taint", "node-1", "node-2", "gpu=yes:NoSchedule")
    try:
        cluster.apply(a_service("replicas: 2"))
        cluster.apply(a_service("mode: global\nplacement: {tolerations: [{key: gpu}]}", "tolerant"))
        assert nodes_of(cluster) == ["node-3", "node-3"]
        assert nodes_of(cluster, "tolerant") == ["node-1", "node-2", "node-3"]
    finally:
        cluster.orchctl("taint", "node-1", "node-2", "gpu-")


def test_a_global_service_follows_labels_and_drains(cluster: Dev) -> None:
    cluster.apply(a_service("mode: global\nplacement: {nodeSelector: {zone: b}}"))
    assert nodes_of(cluster) == ["node-2", "node-3"]
    try:
        cluster.orchctl("label", "node-1", "zone=b")
        cluster.wait("svc/placed", "jsonpath={.status.ready}=3")
        cluster.orchctl("drain", "node-2")
        assert nodes_of(cluster) == ["node-1", "node-3"]
    finally:
        cluster.orchctl("uncordon", "node-2")
    cluster.wait("svc/placed", "jsonpath={.status.ready}=3")
