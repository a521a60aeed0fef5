"""What orch-dns must know of all services, a line each (pure)."""

import json
from collections.abc import Mapping
from operator import attrgetter

from orch.model.assignment import Endpoint, EndpointSection, ServiceEndpoints

_in_order = attrgetter("task.slot", "task.attempt")
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Lines:
    """Remembers what it said of which service: one that has not changed costs nothing."""

    def __init__(self) -> None:
        """Has said nothing yet."""
        self._services: dict[int, ServiceEndpoints] = {}
        self._lines: Mapping[str, str] = {}

    def of(self, section: EndpointSection) -> Mapping[str, str]:
        """By `web.default`. The format is that of agent.network.dns.entry."""
        now = {id(each): each for each in section.services}
        new = [each for at, each in now.items() if at not in self._services]
        gone = [each for at, each in self._services.items() if at not in now]
        if new or gone:
            found = dict(self._lines)
            for each in gone:
                del found[_key(each)]
            found |= {_key(each): line(each) for each in new}
            self._services, self._lines = now, found
        return self._lines


def _key(service: ServiceEndpoints) -> str:
    return f"{service.service.name}.{service.service.namespace}"


def line(service: ServiceEndpoints) -> str:
    """Later attempts come after earlier ones: of two that are alike the later one holds the slot's name."""
    ports = [
        [each.name, each.protocol, each.port or each.target, each.target]
        for each in service.ports
        if each.name
    ]
    endpoints = [_endpoint(each, service) for each in sorted(service.endpoints, key=_in_order)]
    return _encode([service.virtual_addresses, ports, endpoints])


def _endpoint(endpoint: Endpoint, service: ServiceEndpoints) -> list[object]:
    found: list[object] = [endpoint.task.slot, 1 if endpoint.ready else 0, endpoint.addresses]
    if endpoint.targets:
        found.append(
            [target for port, target in zip(service.ports, endpoint.targets, strict=True) if port.name]
        )
    return found
