"""Who may reach whom, as users write it, on a real cluster."""

import pytest

from tests.support.dev import Dev

pytestmark = pytest.mark.cluster

SERVICE = """
apiVersion: orch/v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  mode: global
  image: REGISTRY/web:1
  ports: [{{name: http, target: 8080, port: 80}}]
  readiness: {{http: {{path: /healthz, port: http}}, period: 200ms}}
  rollout: {{minReady: 0s}}
  stop: {{drainDelay: 0s, gracePeriod: 1s}}
  network: {network}
"""
NAMESPACE = (
    "\n---\napiVersion: orch/v1\nkind: Namespace\nmetadata: {{name: shop}}\nspec: {{network: {network}}}\n"
)


def service(name: str, namespace: str = "default", network: str = "{}") -> str:
    return SERVICE.format(name=name, namespace=namespace, network=network)


def said(cluster: Dev, *command: str) -> str:
    """Without what it complains of."""
    return cluster.orchctl(*command, expect=None, errors=False).strip()


def asks(cluster: Dev, who: str, whom: str, namespace: str = "default") -> bool:
    """Whether a task of a service is answered by another service, on every node."""
    fetch = ("wget", "-q", "-O", "-", f"http://{whom}/version")
    answers = {
        said(cluster, "exec", f"{who}.{slot}", "-n", namespace, "--", *fetch) == "1" for slot in (1, 2, 3)
    }
    assert len(answers) == 1, f"{who} → {whom} is not the same on all nodes"
    return answers.pop()


def test_a_service_is_reached_by_whom_it_allows_and_reaches_whom_it_may(cluster: Dev) -> None:
    warned = cluster.apply(
        service("db", network="{allowFrom: [svc/front, svc/later]}")
        + "---"
        + service("front", network="{egress: [svc/db]}")
        + "---"
        + service("other")
    )
    assert "network.allowFrom: svc/later: there is no service later yet" in warned

    assert asks(cluster, "front", "db")
    assert not asks(cluster, "other", "db")
    assert not asks(cluster, "front", "other")
    assert asks(cluster, "db", "other")

    cluster.apply(service("db"))
    assert asks(cluster, "other", "db")
    cluster.apply(service("db", network="{allowFrom: []}"))
    assert not asks(cluster, "front", "db")
    wrong = cluster.apply(service("db", network="{allowFrom: [front]}"), expect=2)
    assert "'front' names nobody: write svc/web" in wrong


def test_an_isolated_namespace_is_reached_from_within_only(cluster: Dev) -> None:
    cluster.apply(NAMESPACE.format(network="isolated"))
    try:
        cluster.apply(
            "---".join(
                (
                    service("cart", "shop"),
                    service("pay", "shop"),
                    service("api", "shop", "{allowFrom: ['*']}"),
                )
            )
        )
        cluster.apply(service("other"))

        assert asks(cluster, "cart", "pay", "shop")
        assert not asks(cluster, "other", "pay.shop")
        assert asks(cluster, "other", "api.shop")
        assert "network: isolated" in cluster.orchctl("get", "ns/shop", "-o", "yaml")

        cluster.apply(NAMESPACE.format(network="open"))
        assert asks(cluster, "other", "pay.shop")
    finally:
        cluster.orchctl("delete", "services", "--all", "-n", "shop", "--timeout", "60s")
        cluster.orchctl("delete", "ns/shop")
