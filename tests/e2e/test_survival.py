"""What is killed comes back and picks up where it was; containers do not notice."""

import os
import signal

import pytest

from cli.dev import life
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

STEADY = """
apiVersion: orch/v1
kind: Service
metadata: {name: steady}
spec:
  replicas: 3
  image: REGISTRY/web:1
  ports: [{name: http, target: 8080, published: 30081}]
  readiness: {http: {path: /healthz, port: http}, period: 1s}
  stop: {drainDelay: 0s, gracePeriod: 2s}
  rollout: {minReady: 0s, maxSurge: 0, maxUnavailable: 1}
  onNodeLoss: wait
"""
"""An agent that takes long to come back on a busy machine is taken for lost: that must change nothing here."""


def _one_of(cluster: Dev, part: str, word: str) -> int:
    """The pid of the process of this part whose name or command line has the word."""
    found = [pid for command, pid in cluster.processes(part).items() if word in command]
    assert found, f"{part} runs no {word}: {sorted(cluster.processes(part))}"
    return min(found)


def _lives(cluster: Dev) -> dict[str, tuple[object, ...]]:
    return {
        task["name"]: (
            task["node"],
            task["containers"][0]["pid"],
            task["startedAt"],
            task["containers"][0].get("restarts", 0),
        )
        for task in cluster.tasks("steady")
    }


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ("node-1", "orch-agent"),
        ("node-1", "orch-shim"),
        ("node-1", "orch-log"),
        ("node-1", "dns"),
        ("control", "orch-controlplan"),
    ],
)
def test_containers_live_on_when_one_of_ours_is_killed(cluster: Dev, part: str, word: str) -> None:
    cluster.apply(STEADY)
    before = _lives(cluster)
    os.kill(_one_of(cluster, part, word), signal.SIGKILL)
    if word == "orch-agent":
        cluster.restart_agent("node-1")
    if part == "control":
        cluster.restart_control()
    cluster.wait("node/node-1")

    assert _lives(cluster) == before
    assert [cluster.fetch(node, 30081) for node in (1, 2, 3)] == ["1", "1", "1"]
    cluster.apply(STEADY.replace("web:1", "web:2"))
    assert [cluster.fetch(node, 30081) for node in (1, 2, 3)] == ["2", "2", "2"]


def test_a_container_that_died_while_its_agent_was_away_is_restarted_when_it_returns(cluster: Dev) -> None:
    cluster.apply(STEADY)
    task = next(each for each in cluster.tasks("steady") if each["node"] == "node-1")
    os.kill(_one_of(cluster, "node-1", "orch-agent"), signal.SIGKILL)
    os.kill(task["containers"][0]["pid"], signal.SIGKILL)
    cluster.restart_agent("node-1")

    cluster.wait(f"task/{task['slot']}", "jsonpath={.status.containers[0].restarts}=1")
    cluster.wait(f"task/{task['slot']}")


def test_a_lost_node_is_replaced_and_tells_the_truth_when_it_returns(cluster: Dev) -> None:
    spec = STEADY.replace(", published: 30081", "").replace("onNodeLoss: wait", "onNodeLoss: replace")
    cluster.apply(spec)
    cluster.dev("kill", "node-2")
    try:
        cluster.wait("node/node-2", "status=Down")
        cluster.wait("svc/steady", "jsonpath={.status.ready}=3")
        assert {task["node"] for task in cluster.tasks("steady") if task["ready"]} == {"node-1", "node-3"}
    finally:
        cluster.dev("start", "node-2")
    cluster.wait("node/node-2")
    assert "node-2" not in {task["node"] for task in cluster.tasks("steady") if task["wanted"] == "run"}


def test_a_drained_node_empties_and_a_cordoned_one_takes_nothing(cluster: Dev) -> None:
    spec = STEADY.replace(", published: 30081", "")
    cluster.apply(spec)
    try:
        cluster.orchctl("drain", "node-1")
        assert "node-1" not in {task["node"] for task in cluster.tasks("steady")}
        cluster.orchctl("cordon", "node-2")
        cluster.orchctl("scale", "steady", "--replicas", "6")
        cluster.wait("svc/steady", "jsonpath={.status.ready}=6")
        where = [task["node"] for task in cluster.tasks("steady")]
        assert where.count("node-2") <= 2
        assert "node-1" not in where
    finally:
        cluster.orchctl("uncordon", "node-1")
        cluster.orchctl("uncordon", "node-2")


def test_a_dead_control_plane_is_named_within_three_seconds(cluster: Dev) -> None:
    other = cluster.config.parent / "other"
    other.mkdir()
    state = cluster.cluster.control_state
    credentials = [
        "--ca",
        str(state / "ca.crt"),
        "--cert",
        str(state / "admin.crt"),
        "--key",
        str(state / "admin.key"),
    ]
    cluster.orchctl("context", "add", "dead", "--address", "127.0.0.1:9", *credentials)

    cluster.orchctl("context", "use", life.context_name(cluster.cluster.name))
    took, said = cluster.seconds("get", "nodes", "--context", "dead", expect=3)
    assert took < 3

    assert "127.0.0.1:9" in said
