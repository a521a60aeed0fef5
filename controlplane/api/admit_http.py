"""Ports on which nodes serve HTTP routes: nobody publishes one of them beside a service with routes. Pure.

The kernel leads packets of a published port past the proxy, so that of the two only one could be reached.
"""

from collections.abc import Iterator, Mapping

from controlplane.api.draft import Draft
from controlplane.cluster import snapshot
from orch.model.names import ServiceName
from orch.model.service import Service

USUAL = {80: "HTTP", 443: "HTTPS"}
"""Of a cluster that has no node yet."""


def check(draft: Draft) -> None:
    """Of all services as they are once the change is made; only what this change brings about is refused."""
    after = draft.services_after()
    for scheme, ports in sorted(_served(draft.cluster).items()):
        routed = [name for name, each in sorted(after.items()) if _has_routes(each, scheme)]
        for publisher, port in _published(after, ports):
            meant = routed if publisher in draft.services else sorted(draft.services.intersection(routed))
            if meant:
                draft.refuse_service(
                    publisher,
                    f"port {port}/tcp is published, but the nodes serve {scheme} routes there, those of service "
                    f"{meant[0]}: publish another port, or reach {publisher} by a route, too",
                )


def _served(cluster: snapshot.Cluster) -> dict[str, set[int]]:
    """By which scheme; each node may have ports of its own."""
    if not cluster.nodes:
        return {scheme: {port} for port, scheme in USUAL.items()}
    facts = [each.status.facts for each in cluster.nodes.values()]
    return {
        "HTTP": {each.http_port for each in facts if each.http_port},
        "HTTPS": {each.https_port for each in facts if each.https_port},
    }


def _has_routes(service: Service, scheme: str) -> bool:
    return any(route.tls or scheme == "HTTP" for route in service.spec.routes)


def _published(after: Mapping[ServiceName, Service], ports: set[int]) -> Iterator[tuple[ServiceName, int]]:
    for name, service in sorted(after.items()):
        for port in service.spec.template.ports:
            if port.protocol == "tcp" and port.published in ports:
                yield name, port.published
