"""What cannot work is said clearly: what, where, and what to do. Nothing is lost."""

import pytest

from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

BAD = """
apiVersion: orch/v1
kind: Service
metadata: {{name: bad}}
spec:
  image: {image}
  rollout: {{minReady: 0s, progressDeadline: 3s}}
  stop: {{drainDelay: 0s}}
  {more}
"""


def _reason(cluster: Dev, image: str, more: str = "restart: {backoff: 100ms}") -> str:
    said = cluster.apply(BAD.format(image=image, more=more), expect=1)
    listing = cluster.orchctl("get", "tasks", "--all")
    described = cluster.orchctl("describe", "svc/bad")
    return (
        said
        + listing
        + described
        + cluster.orchctl("events", "bad")
        + cluster.orchctl("why", "bad", expect=None)
    )


def test_an_image_that_the_registry_does_not_have(cluster: Dev) -> None:
    said = _reason(cluster, "REGISTRY/web:nope")
    assert "ImageNotFound" in said
    assert "nope" in said


def test_a_registry_that_does_not_answer(cluster: Dev) -> None:
    said = _reason(cluster, "127.0.0.1:9/web:1")
    assert "RegistryUnreachable" in said
    assert "127.0.0.1:9" in said


def test_a_digest_that_is_not_there(cluster: Dev) -> None:
    said = _reason(cluster, "REGISTRY/web@sha256:" + "0" * 64)
    assert "0000" in said


def test_a_command_that_does_not_exist(cluster: Dev) -> None:
    said = _reason(cluster, "REGISTRY/web:1", "entrypoint: [/no/such/server]")
    assert "/no/such/server" in said


def test_a_constraint_that_no_node_meets(cluster: Dev) -> None:
    said = _reason(cluster, "REGISTRY/web:1", 'placement: {constraints: ["node.labels.disk == ssd"]}')
    assert "node-1" in said
    assert "disk" in said


def test_a_readiness_probe_that_never_passes(cluster: Dev) -> None:
    said = _reason(
        cluster,
        "REGISTRY/web:1",
        "readiness: {http: {path: /missing, port: 8080}, period: 200ms, failureThreshold: 1}",
    )
    assert "404" in said


def test_a_port_that_two_services_want(cluster: Dev) -> None:
    port = "{target: 8080, published: 30099, mode: host}"
    spec = BAD.format(image="REGISTRY/web:1", more=f"mode: global\n  ports: [{port}]")
    cluster.apply(spec.replace("3s", "60s"))
    cluster.apply(spec.replace("name: bad", "name: worse"), "--wait=false")
    cluster.told("30099", "why", "worse")


def test_a_manifest_with_many_mistakes_lists_them_all_and_changes_nothing(cluster: Dev) -> None:
    said = cluster.apply(
        """
apiVersion: orch/v1
kind: Service
metadata: {name: Bad_Name}
spec:
  replica: 3
  image: REGISTRY/web:1
  dependsOn: {db: healthy}
  readiness: {http: {path: /, port: nope}}
""",
        expect=2,
    )
    for word in ("Bad_Name", "replica", "replicas", "dependsOn", "not supported yet", ":6:"):
        assert word in said, said
    assert cluster.items("services") == []
