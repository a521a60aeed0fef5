"""From the endpoints of all services to what the proxy is to be (pure)."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.routes.wanted import (
    MOST_WEIGHT,
    REDIRECT,
    Backend,
    Certificate,
    Manner,
    Server,
    Wanted,
)
from orch.model import reach
from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints
from orch.model.names import ObjectName
from orch.model.network import RouteSpec

PARTS = 1000
"""A split is told apart by so many numbers."""


@dataclass(frozen=True, slots=True)
class _Led:
    """One route of one service."""

    service: ServiceEndpoints
    route: RouteSpec
    backend: Backend


def wanted(section: EndpointSection, pems: Mapping[ObjectName, str]) -> Wanted:
    """`pems` are the certificates that are here, each with its key."""
    places: dict[str, list[_Led]] = defaultdict(list)
    problems: list[str] = []
    for service in section.services:
        for route in service.routes:
            backend = _backend(service, route)
            if backend is None:
                problems.append(f"a route of {service.service} names port {route.port}, which it has not")
            else:
                places[key(route)].append(_Led(service, route, backend))
    http, https, splits = {}, {}, {}
    for place, led in sorted(places.items()):
        target, parts = _target(place, led)
        https[place] = target
        splits.update(parts)
        http[place] = REDIRECT if any(each.route.tls and each.route.redirect for each in led) else target
    every = [each for led in places.values() for each in led]
    certificates, missing = _certificates(every, pems)
    return Wanted(
        backends=tuple(sorted({each.backend.name: each.backend for each in every}.values(), key=_by_name)),
        http=http,
        https=https,
        splits=splits,
        certificates=certificates,
        has_tls=any(each.route.tls for each in every),
        problems=(*problems, *missing),
    )


def key(route: RouteSpec) -> str:
    """What the maps know it by: paths end with a slash, so that /api is not the beginning of /apix."""
    path = route.path.rstrip("/") + "/"
    return (route.host.lower() or "*") + path


def revision_of(server: str) -> int:
    """Out of a server's name; 0 where it has none."""
    head = server.partition(".")[0]
    return int(head[1:]) if head.startswith("r") and head[1:].isdecimal() else 0


def _by_name(backend: Backend) -> str:
    return backend.name


def _backend(service: ServiceEndpoints, route: RouteSpec) -> Backend | None:
    index = _port(service, route.port)
    if index is None:
        return None
    port = service.ports[index]
    strip = route.path.rstrip("/") if route.strip_path else ""
    manner = Manner(route.timeout, route.slow_start, route.protocol, strip, _sources(service))
    name = f"{service.service.name}.{service.service.namespace}:{port.name or port.target}"
    if manner != Manner():
        name += ":" + hashlib.sha256(repr(manner).encode()).hexdigest()[:8]
    shares = {each.revision: each.weight for each in service.shares}
    return Backend(name, str(service.service), manner, weigh(_servers(service, index), shares))


def _sources(service: ServiceEndpoints) -> tuple[str, ...]:
    """As for published ports: where a range is among those who may come, ranges govern who comes from outside."""
    words = [reach.meant(word, service.service.namespace) for word in service.network.allow_from]
    if any(isinstance(each, reach.Anybody) for each in words):
        return ()
    return tuple(sorted({each.addresses for each in words if isinstance(each, reach.Range)}))


def _port(service: ServiceEndpoints, word: str) -> int | None:
    """Its place among the service's ports."""
    for index, port in enumerate(service.ports):
        if port.protocol == "tcp" and word in ("", port.name, str(port.target)):
            return index
    return None


def _servers(service: ServiceEndpoints, index: int) -> Iterator[Server]:
    ready = [each for each in service.endpoints if each.ready and each.addresses]
    for each in ready:
        port = each.targets[index] if index < len(each.targets) else service.ports[index].target
        if port:
            name = f"r{each.revision}.{each.task.uid}"
            yield Server(name, _address(each), port)


def _address(endpoint: Endpoint) -> str:
    return next((each for each in endpoint.addresses if ":" not in each), endpoint.addresses[0])


def _target(place: str, led: list[_Led]) -> tuple[str, dict[str, str]]:
    """A backend; or, of several services, a split and who has which part of it."""
    if len(led) == 1:
        return led[0].backend.name, {}
    weights = {each.backend.name: each.route.weight or 0 for each in led}
    can = {each.backend.name for each in led if each.backend.servers} or set(weights)
    shares = split({name: weight for name, weight in weights.items() if name in can})
    word = f"@{place}#"
    return word, {f"{word}{number}": name for number, name in enumerate(shares)}


def split(weights: Mapping[str, int]) -> list[str]:
    """A thousand parts, shared out by weight to the nearest; where all weights are 0, evenly."""
    total = sum(weights.values())
    exact = {
        name: PARTS * (weight / total if total else 1 / len(weights)) for name, weight in weights.items()
    }
    parts = {name: int(share) for name, share in exact.items()}
    by_rest = sorted(exact, key=lambda name: (parts[name] - exact[name], name))
    for name in by_rest[: PARTS - sum(parts.values())]:
        parts[name] += 1
    return [name for name in sorted(parts) for _ in range(parts[name])]


def weigh(servers: Iterable[Server], shares: Mapping[int, int]) -> tuple[Server, ...]:
    """Each revision has its share of the requests, however many servers it has; without shares all count alike."""
    every = tuple(servers)
    count: dict[int, int] = defaultdict(int)
    for each in every:
        count[revision_of(each.name)] += 1
    exact = {revision: shares.get(revision, 0) / number for revision, number in count.items()}
    most = max(exact.values(), default=0.0)
    if not most:
        return every
    return tuple(
        Server(each.name, each.address, each.port, _scaled(exact[revision_of(each.name)], most))
        for each in every
    )


def _scaled(share: float, most: float) -> int:
    return max(1, round(share / most * MOST_WEIGHT)) if share else 0


def _certificates(
    led: Iterable[_Led], pems: Mapping[ObjectName, str]
) -> tuple[tuple[Certificate, ...], list[str]]:
    hosts: dict[ObjectName, set[str]] = defaultdict(set)
    for each in led:
        if each.route.tls:
            hosts[ObjectName(each.service.service.namespace, each.route.tls)].add(each.route.host.lower())
    found, missing = [], []
    for name, of in sorted(hosts.items()):
        if name in pems:
            words = tuple(sorted(of))
            mark = hashlib.sha256(" ".join(words).encode()).hexdigest()[:8]
            found.append(Certificate(f"{name.namespace}.{name.name}.{mark}", pems[name], words))
        else:
            missing.append(f"HTTPS for {_several(of)}: the secret {name} has not come from the control plane")
    found.sort(key=lambda each: (not each.is_default, each.name))
    return tuple(found), missing


def _several(hosts: Iterable[str]) -> str:
    return ", ".join(sorted(each or "any host" for each in hosts))
