"""A registry that wants a password: from a Secret applied to an image pulled, and on to the next password."""

import os
from pathlib import Path
from typing import Literal

import pytest

from tests.support.dev import Dev
from tests.support.private_registry import FIRST, SECOND, USER, Private, private_registry

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {name: private}
spec:
  image: REGISTRY/shop/KIND:VERSION
  rollout: {minReady: 0s, progressDeadline: DEADLINE}
  stop: {drainDelay: 0s, gracePeriod: 2s}
"""

SECRET = """
apiVersion: orch/v1
kind: Secret
metadata: {name: pull}
type: registry
data: {host: "REGISTRY", user: USER, password: PASSWORD}
"""


def a_service(kind: str, version: str, deadline: str = "60s") -> str:
    """Of an image of its own: what a node has already it runs without a password."""
    return SERVICE.replace("KIND", kind).replace("VERSION", version).replace("DEADLINE", deadline)


def a_secret(password: str) -> str:
    return SECRET.replace("USER", USER).replace("PASSWORD", password)


def the_digest(cluster: Dev) -> str:
    (found,) = {task["containers"][0]["imageDigest"] for task in cluster.tasks("private") if task["ready"]}
    return str(found)


def holding(word: str, *directories: Path) -> list[str]:
    """Files that have this word in them."""
    found = []
    for directory in directories:
        for at, _, names in os.walk(directory):
            for name in names:
                path = Path(at, name)
                if path.is_file() and not path.is_symlink() and word.encode() in path.read_bytes():
                    found.append(str(path))
    return found


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_private_image_is_pulled_with_the_secret_of_its_namespace(
    cluster: Dev, kind: Literal["basic", "token"]
) -> None:
    with private_registry(cluster, kind) as registry:
        try:
            _follow(cluster, registry)
        finally:
            cluster.orchctl("delete", "svc/private", "secret/pull", expect=None)


def _follow(cluster: Dev, registry: Private) -> None:
    kind = registry.kind
    first = registry.push(f"shop/{kind}:1", "1", FIRST)

    said = cluster.apply(a_service(kind, "1", "6s"), expect=1)
    assert "it wants credentials" in said, "without a secret"

    cluster.apply(a_secret("no-such-password"))
    said = cluster.apply(a_service(kind, "1", "6s"), expect=1)
    assert "check its user and password" in said, "with a wrong one"
    (task,) = cluster.tasks("private")
    assert task["reason"] == "Unauthorized"
    told = cluster.told("check its user and password", "describe", f"task/{task['name']}")
    assert "Unauthorized" in told
    assert "check its user and password" in cluster.orchctl("why", f"task/{task['name']}")

    cluster.apply(a_secret(FIRST))
    cluster.apply(a_service(kind, "1"))
    assert the_digest(cluster) == first

    tasks = cluster.orchctl("get", "tasks", "-o", "json") + cluster.orchctl(
        "get", "svc/private", "-o", "yaml"
    )
    assert FIRST not in tasks
    disks = [cluster.cluster.control_state, *(cluster.cluster.node(number).state for number in (1, 2, 3))]
    assert holding(FIRST, *disks) == []
    assert holding(registry.host, *disks) != [], "there is something to search"

    registry.begin(SECOND)
    second = registry.push(f"shop/{kind}:2", "2", SECOND)
    cluster.apply(a_secret(SECOND))
    cluster.apply(a_service(kind, "2"))
    assert the_digest(cluster) == second != first
