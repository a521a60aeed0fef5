"""Ports on which nodes serve HTTP routes: nobody publishes one of them beside a service with routes. Pure.

The kernel leads packets of a published port past the proxy, so that of the two only one could be reached.
"""

from collections.abc import Iterator, Mapping

from controlplane.api.draft import Draft
from controlplane.cluster import snapshot
from orch.model.names import ServiceName
from orch.model.service import Service

Clash = tuple[ServiceName, int, str, ServiceName]
"""Who publishes which port, where nodes serve which routes, of whom."""
USUAL = {80: "HTTP", 443: "HTTPS"}
"""Of a cluster that has no node yet."""


def check(draft: Draft) -> None:
    """Of all services as they are once the change is made; what stood so before it is left alone."""
    clashes = set(_clashes(draft, draft.services_after()))
    if clashes:
        clashes -= set(_clashes(draft, draft.services_before()))
    told: set[tuple[ServiceName, int]] = set()
    for publisher, port, scheme, routed in sorted(clashes):
        if (publisher, port) not in told:
            draft.refuse_service(
                publisher,
                f"port {port}/tcp is published, but the nodes serve {scheme} routes there, those of service "
                f"{routed}: publish another port, or reach {publisher} by a route, too",
            )
        told.add((publisher, port))


def _clashes(draft: Draft, services: Mapping[ServiceName, Service]) -> Iterator[Clash]:
    for scheme, ports in _served(draft.cluster).items():
        if published := list(_published(services, ports)):
            routed = [name for name, each in services.items() if _has_routes(each, scheme)]
            yield from ((name, port, scheme, other) for name, port in published for other in routed)


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
    for name, service in after.items():
        for port in service.spec.template.ports:
            if port.protocol == "tcp" and port.published in ports:
                yield name, port.published
