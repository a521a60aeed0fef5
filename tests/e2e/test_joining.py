"""A machine joins with a token, and only with one; what it brings is a node like the others."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from cli.dev import cluster as clusters
from cli.dev import lan, processes, sweep
from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SPREAD = """
apiVersion: orch/v1
kind: Service
metadata: {name: spread}
spec:
  mode: global
  image: REGISTRY/web:1
  readiness: {http: {path: /healthz, port: 8080}, period: 1s}
  stop: {drainDelay: 0s, gracePeriod: 2s}
  rollout: {minReady: 0s}
"""


@contextlib.contextmanager
def a_machine(cluster: Dev) -> Iterator[clusters.DevNode]:
    """A fourth machine on the LAN, with nothing on it."""
    node = cluster.cluster.node(4)
    lan.connect(cluster.cluster, node)
    try:
        yield node
    finally:
        processes.kill(list(processes.marked(cluster.cluster.name, node.name)))
        sweep.kill_payloads(node.cgroup)
        sweep.remove_cgroups(node.cgroup)
        sweep.remove_directory(node.run)
        lan.disconnect(cluster.cluster, node)
        shutil.rmtree(node.state, ignore_errors=True)


def join(cluster: Dev, node: clusters.DevNode, token: str, *, wait: bool = True) -> str:
    """Start its agent with this token; what it said by the time it is ready, or when it has ended."""
    command = processes.agent_command(cluster.cluster, node)
    where = command.index("--token-file")
    command[where : where + 2] = ["--token", token]
    log = cluster.work / "node-4.log"
    log.write_text("")
    process = processes.start(cluster.cluster.name, node.name, command, netns=node.netns_path, log=log)
    if wait:
        processes.wait_for_line(process, log, "is ready", "the agent")
    else:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        assert process.poll(), f"an agent with a bad token goes on: {log.read_text()}"
    return log.read_text()


def token_of(cluster: Dev, *options: str) -> str:
    return cluster.orchctl("node", "join-token", *options, errors=False).strip()


def test_a_fourth_machine_joins_works_and_leaves(cluster: Dev) -> None:
    cluster.apply(SPREAD)
    with a_machine(cluster) as node:
        join(cluster, node, token_of(cluster))
        cluster.orchctl("wait", "node/node-4", "--timeout", "10s")
        cluster.orchctl("wait", "svc/spread", "--for", "jsonpath={.status.ready}=4", "--timeout", "10s")
        assert cluster.orchctl("node", "rm", "node-4", expect=None).find("node-4") >= 0
        assert any(each["metadata"]["name"] == "node-4" for each in cluster.items("nodes")), "it is alive"

        processes.kill(list(processes.marked(cluster.cluster.name, node.name)))
        cluster.orchctl("wait", "node/node-4", "--for", "status=Down", "--timeout", "15s")
        cluster.orchctl("node", "rm", "node-4")
        assert [each["metadata"]["name"] for each in cluster.items("nodes")] == ["node-1", "node-2", "node-3"]
        cluster.orchctl("wait", "svc/spread", "--for", "jsonpath={.status.desired}=3", "--timeout", "10s")

        join(cluster, node, token_of(cluster))
        cluster.orchctl("wait", "svc/spread", "--for", "jsonpath={.status.ready}=4", "--timeout", "10s")
        processes.kill(list(processes.marked(cluster.cluster.name, node.name)))
        cluster.orchctl("wait", "node/node-4", "--for", "status=Down", "--timeout", "15s")
        cluster.orchctl("node", "rm", "node-4")


def test_no_token_a_wrong_digest_an_expired_and_a_foreign_token_are_refused(cluster: Dev) -> None:
    good = token_of(cluster)
    kind, identity, digest, *rest = good.split(".")
    short = token_of(cluster, "--valid-for", "1s")
    with a_machine(cluster) as node:
        said = join(cluster, node, ".".join([kind, identity, "0" * len(digest), *rest]), wait=False)
        assert "digest" in said or "CA" in said, said
        said = join(
            cluster, node, ".".join([kind, identity, digest, rest[0], "0" * len(rest[1])]), wait=False
        )
        assert "token" in said, said
        said = join(cluster, node, "nonsense", wait=False)
        assert "token" in said, said
        said = join(cluster, node, short, wait=False)
        assert "expired" in said, said
    assert [each["metadata"]["name"] for each in cluster.items("nodes")] == ["node-1", "node-2", "node-3"]
