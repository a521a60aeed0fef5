"""Images by tag, by digest, of several platforms, and from an archive without any registry."""

import asyncio
import dataclasses

import pytest

from deploy.demo import images
from orch.oci import build, reference
from orch.oci.registry import Registry
from tests.support.dev import Dev
from tests.support.machine import a_machine, join

pytestmark = pytest.mark.cluster

SPEC = """
apiVersion: orch/v1
kind: Service
metadata: {name: pulled}
spec:
  image: IMAGE
  pullPolicy: POLICY
  rollout: {minReady: 0s, progressDeadline: DEADLINE}
  stop: {drainDelay: 0s, gracePeriod: 2s}
"""


def a_service(image: str, policy: str = "IfNotPresent", deadline: str = "60s") -> str:
    return SPEC.replace("IMAGE", image).replace("POLICY", policy).replace("DEADLINE", deadline)


def pushed(cluster: Dev, name: str, built: build.Built) -> str:
    """The digest of what now has this name in the registry."""

    async def push() -> str:
        address = cluster.cluster.registry_address
        async with Registry(plain_http=[address]) as connection:
            return await build.push(connection, reference.parse(f"{address}/{name}"), built)

    return asyncio.run(push())


def version_of(cluster: Dev) -> str:
    return cluster.orchctl("exec", "pulled", "--", "cat", "/www/version").strip()


def test_a_digest_names_exactly_one_image(cluster: Dev) -> None:
    digest = pushed(cluster, "moving:latest", images.web("old"))
    pushed(cluster, "moving:latest", images.web("new"))
    cluster.apply(a_service(f"REGISTRY/moving@{digest}"))
    assert version_of(cluster) == "old"
    (task,) = cluster.tasks("pulled")
    assert task["containers"][0]["imageDigest"] == digest


def test_all_instances_of_a_revision_run_what_the_tag_stood_for_when_it_was_applied(cluster: Dev) -> None:
    digest = pushed(cluster, "resolved:1", images.web("old"))
    cluster.apply(a_service("REGISTRY/resolved:1"))
    newer = pushed(cluster, "resolved:1", images.web("new"))

    cluster.orchctl("scale", "pulled", "--replicas", "3")
    cluster.wait("svc/pulled")
    found = [task["containers"][0]["imageDigest"] for task in cluster.tasks("pulled")]
    assert found == [digest] * 3

    cluster.apply(a_service("REGISTRY/resolved:1"))
    ready = [task["containers"][0]["imageDigest"] for task in cluster.tasks("pulled") if task["ready"]]
    assert ready == [newer] * 3
    cluster.delete("svc/pulled")


def test_of_an_index_each_node_takes_its_own_platform(cluster: Dev) -> None:
    ours = images.web("ours")
    assert ours.platform
    other = dataclasses.replace(
        images.web("other"), platform=dataclasses.replace(ours.platform, architecture="s390x")
    )
    pushed(cluster, "many:1", build.index([other, ours]))
    cluster.apply(a_service("REGISTRY/many:1"))
    assert version_of(cluster) == "ours"

    pushed(cluster, "foreign:1", build.index([other]))
    cluster.delete("svc/pulled")
    said = cluster.apply(a_service("REGISTRY/foreign:1", deadline="3s"), expect=1)
    assert "amd64" in said
    assert "s390x" in said


def test_an_image_from_an_archive_runs_without_a_registry(cluster: Dev) -> None:
    archive = cluster.work / "image.tar"
    build.write_archive(archive, images.web("carried"), reference.parse("example.com/carried:1"))
    here = "  placement: {constraints: [node.name == node-4]}\n"
    with a_machine(cluster) as node:
        join(cluster, node, more=["--import", str(archive)])
        cluster.wait("node/node-4")
        cluster.apply(a_service("example.com/carried:1", "Never") + here)
        assert version_of(cluster) == "carried"
        cluster.delete("svc/pulled")
    cluster.wait("node/node-4", "status=Down")
    cluster.orchctl("node", "rm", "node-4")


def test_an_image_that_must_be_there_and_is_not_is_told(cluster: Dev) -> None:
    said = cluster.apply(a_service("REGISTRY/web:never-pulled", "Never", "3s"), expect=1)
    assert "pullPolicy is Never" in said
