"""A machine joins with a token, and only with one; what it brings is a node like the others."""

import time

import pytest

from cli.dev import processes
from tests.support.dev import Dev
from tests.support.machine import a_machine, join

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


def token_of(cluster: Dev, *options: str) -> str:
    return cluster.orchctl("node", "join-token", *options, errors=False).strip()


def test_a_fourth_machine_joins_works_and_leaves(cluster: Dev) -> None:
    cluster.apply(SPREAD)
    with a_machine(cluster) as node:
        join(cluster, node, token_of(cluster))
        cluster.wait("node/node-4")
        cluster.wait("svc/spread", "jsonpath={.status.ready}=4")
        assert cluster.orchctl("node", "rm", "node-4", expect=None).find("node-4") >= 0
        assert any(each["metadata"]["name"] == "node-4" for each in cluster.items("nodes")), "it is alive"

        processes.kill(list(processes.marked(cluster.cluster.name, node.name)))
        cluster.wait("node/node-4", "status=Down")
        cluster.orchctl("node", "rm", "node-4")
        assert [each["metadata"]["name"] for each in cluster.items("nodes")] == ["node-1", "node-2", "node-3"]
        cluster.wait("svc/spread", "jsonpath={.status.desired}=3")

        join(cluster, node, token_of(cluster))
        cluster.wait("svc/spread", "jsonpath={.status.ready}=4")
        processes.kill(list(processes.marked(cluster.cluster.name, node.name)))
        cluster.wait("node/node-4", "status=Down")
        cluster.orchctl("node", "rm", "node-4")


def test_no_token_a_wrong_digest_an_expired_and_a_foreign_token_are_refused(cluster: Dev) -> None:
    good = token_of(cluster)
    kind, identity, digest, *rest = good.split(".")
    short = token_of(cluster, "--valid-for", "1s")
    over_at = time.monotonic() + 1
    with a_machine(cluster) as node:
        said = join(cluster, node, ".".join([kind, identity, "0" * len(digest), *rest]), wait=False)
        assert "digest" in said or "CA" in said, said
        said = join(
            cluster, node, ".".join([kind, identity, digest, rest[0], "0" * len(rest[1])]), wait=False
        )
        assert "token" in said, said
        said = join(cluster, node, "nonsense", wait=False)
        assert "token" in said, said
        time.sleep(max(over_at - time.monotonic(), 0))
        said = join(cluster, node, short, wait=False)
        assert "expired" in said, said
    assert [each["metadata"]["name"] for each in cluster.items("nodes")] == ["node-1", "node-2", "node-3"]
