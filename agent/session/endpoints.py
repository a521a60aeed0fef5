"""Endpoints come whole or as a difference; here they become whole again.

A service of which nothing has changed stays the very same value, also in a section that comes whole: who works with
it may tell by `is` that there is nothing to do.
"""

from dataclasses import replace

from orch import wire
from orch.model.assignment import EndpointSection, ServiceEndpoints
from orch.model.names import ServiceName
from orch.v1 import values_pb2


class NotTheBase(Exception):
    """It is the difference to a section that is not here."""


class Whole:
    """One per agent; each conversation begins with a section that is whole."""

    def __init__(self) -> None:
        self._version = 0
        self._known: dict[ServiceName, tuple[values_pb2.ServiceEndpoints, ServiceEndpoints]] = {}

    def take(self, message: values_pb2.EndpointSection) -> EndpointSection:
        """The whole section. Raises NotTheBase."""
        if message.base and message.base != self._version:
            raise NotTheBase(f"it is the difference to version {message.base}; here is {self._version}")
        known = self._known if message.base else {}
        for each in message.services:
            name = ServiceName(each.service.namespace, each.service.name)
            before = self._known.get(name)
            known[name] = (
                before if before and before[0] == each else (each, wire.from_wire(each, ServiceEndpoints))
            )
        for gone in message.gone:
            known.pop(ServiceName(gone.namespace, gone.name), None)
        self._known, self._version = known, message.version
        services = tuple(known[name][1] for name in sorted(known))
        bare = values_pb2.EndpointSection(stamp=message.stamp, version=message.version)
        return replace(wire.from_wire(bare, EndpointSection), services=services)
