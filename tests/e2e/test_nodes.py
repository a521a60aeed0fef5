"""What happens to tasks when a node is lost or full is the service's word, and is told."""

import subprocess
import time

import pytest

from tests.support.dev import Dev
from tests.support.machine import a_machine, join

pytestmark = pytest.mark.cluster

ONCE = """
apiVersion: orch/v1
kind: Service
metadata: {name: once}
spec:
  image: REGISTRY/web:1
  onNodeLoss: WORD
  rollout: {minReady: 0s, progressDeadline: 60s}
  restart: {backoff: 200ms, maxBackoff: 500ms}
  stop: {drainDelay: 0s, gracePeriod: 1s}
"""


def test_what_may_exist_only_once_waits_for_its_node(cluster: Dev) -> None:
    cluster.apply(ONCE.replace("WORD", "wait"))
    (before,) = cluster.tasks("once")
    cluster.dev("kill", before["node"])
    try:
        cluster.wait(f"node/{before['node']}", "status=Down")
        time.sleep(1)  # nothing is to happen
        assert [task["name"] for task in cluster.tasks("once")] == [before["name"]]
        assert "Unreachable" in cluster.orchctl("get", "tasks")
        assert before["node"] in cluster.orchctl("why", "once.1")
    finally:
        cluster.dev("start", before["node"])
    cluster.wait("task/once.1")
    assert [task["node"] for task in cluster.tasks("once")] == [before["node"]]


def test_a_full_disk_is_named_and_what_runs_goes_on(cluster: Dev) -> None:
    text = ONCE.replace("WORD", "replace") + "  placement: {constraints: [node.name == node-4]}\n"
    with a_machine(cluster) as node:
        node.state.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(node.state)], check=True)
        try:
            join(cluster, node)
            cluster.wait("node/node-4")
            cluster.apply(text)
            (before,) = cluster.tasks("once")
            (node.state / "filler").write_bytes(b"")
            subprocess.run(
                ["dd", "if=/dev/zero", f"of={node.state}/filler", "bs=1M"], check=False, capture_output=True
            )
            more = text.replace("name: once", "name: more").replace("web:1", "web:2").replace("60s", "3s")
            said = cluster.apply(more, expect=1)
            said += cluster.orchctl("describe", "task/more.1")
            assert "DiskFull" in said
            assert "free some space" in said
            assert [task["containers"][0]["pid"] for task in cluster.tasks("once")] == [
                before["containers"][0]["pid"]
            ]
            assert cluster.orchctl("exec", "once.1", "--", "cat", "/www/version").strip() == "1"

            (node.state / "filler").unlink()
            cluster.wait("task/more.1")
            cluster.delete("svc/once", "svc/more")
        finally:
            subprocess.run(["umount", "-l", str(node.state)], check=False)
    cluster.wait("node/node-4", "status=Down")
    cluster.orchctl("node", "rm", "node-4")
