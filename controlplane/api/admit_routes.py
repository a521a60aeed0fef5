"""Routes against the rest of the cluster: whose host and path it is, and with which certificate. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from controlplane.api.draft import Draft
from controlplane.store import codec, keys
from orch.identity import pair
from orch.manifest import check_routes
from orch.model.config import TLS_TYPE, Secret
from orch.model.names import ObjectName, ServiceName
from orch.model.network import RouteSpec
from orch.model.service import Service

Place = tuple[str, str]
"""Host and path."""


def check(draft: Draft, opened: Callable[[Secret], Mapping[str, bytes]]) -> None:
    """All services that are written, when everything else of the change is known."""
    written = [edit.value for edit in draft.edits.values() if isinstance(edit, codec.Save)]
    changed = [each for each in written if isinstance(each, Service)]
    services = [each for each in changed if each.spec.routes and not each.deleted]
    if not services:
        return
    holders = _holders(draft)
    for service in sorted(services, key=lambda each: each.name):
        for route in service.spec.routes:
            for fault in _conflicts(service.name, route, holders):
                draft.refuse_service(service.name, fault)
            if route.tls:
                _certificate(draft, service, route, opened)
    draft.warnings.extend(_two_certificates(services, holders))


def _place(route: RouteSpec) -> Place:
    return route.host.lower(), route.path.rstrip("/")


def _holders(draft: Draft) -> dict[Place, list[tuple[ServiceName, RouteSpec]]]:
    """Who has which place, once the change is made."""
    after = draft.services_after()
    holders: dict[Place, list[tuple[ServiceName, RouteSpec]]] = defaultdict(list)
    for name in sorted(after):
        for route in after[name].spec.routes:
            holders[_place(route)].append((name, route))
    return holders


def _conflicts(
    name: ServiceName, route: RouteSpec, holders: Mapping[Place, list[tuple[ServiceName, RouteSpec]]]
) -> Iterator[str]:
    for other, its in holders[_place(route)]:
        if other != name and (route.weight is None or its.weight is None):
            yield (
                f"{check_routes.in_words(route)} leads to service {other} already: choose another host or path, "
                "or share the requests by giving both routes a weight"
            )


def _certificate(
    draft: Draft, service: Service, route: RouteSpec, opened: Callable[[Secret], Mapping[str, bytes]]
) -> None:
    name = ObjectName(service.name.namespace, route.tls)
    words = f"the route of {check_routes.in_words(route)}"
    key = keys.secret(name)
    edit = draft.edits.get(key)
    found = edit.value if isinstance(edit, codec.Save) else draft.cluster.secrets.get(name)
    if not isinstance(found, Secret) or isinstance(edit, codec.Drop):
        draft.refuse_service(
            service.name,
            f"{words} names the secret {route.tls}, which does not exist: apply it first, or in the same file "
            "(kind: Secret, type: tls, entries tls.crt and tls.key)",
        )
        return
    draft.look_at(key)
    if found.type != TLS_TYPE:
        draft.refuse_service(
            service.name,
            f"{words} names the secret {route.tls}, which is of type {found.type}: it must be of type tls",
        )
        return
    try:
        good = pair.read(opened(found))
    except pair.NoPair as fault:
        draft.refuse_service(service.name, f"{words}: secret {route.tls}: {fault}")
        return
    if not good.is_for(route.host.lower()):
        hosts = ", ".join(good.hosts) or "no host"
        draft.warnings.append(
            f"service {service.name}: {words}: the certificate in secret {route.tls} is for {hosts}: clients refuse it"
        )


def _two_certificates(
    services: list[Service], holders: Mapping[Place, list[tuple[ServiceName, RouteSpec]]]
) -> Iterator[str]:
    """One host has one certificate: which of two it is would be chance."""
    by_host: dict[str, set[ObjectName]] = defaultdict(set)
    for (host, _), led in holders.items():
        by_host[host] |= {ObjectName(name.namespace, route.tls) for name, route in led if route.tls}
    hosts = {route.host.lower() for each in services for route in each.spec.routes if route.tls}
    for host in sorted(hosts):
        if len(by_host[host]) > 1:
            names = " and ".join(str(each) for each in sorted(by_host[host]))
            yield f"{host or 'any host'} has more than one certificate, secrets {names}: the first is shown"
