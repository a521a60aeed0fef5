"""Where the cluster's names point, from the endpoints of all services (pure)."""

from collections.abc import Mapping

from orch.model.assignment import EndpointSection, ServiceEndpoints

SUFFIX = "orch"


def records(section: EndpointSection) -> Mapping[str, tuple[str, ...]]:
    """`web.default.orch` and `tasks.web.default.orch` are all ready ones, `2.web.default.orch` is slot 2."""
    found: dict[str, tuple[str, ...]] = {}
    for service in section.services:
        base = f"{service.service.name}.{service.service.namespace}.{SUFFIX}"
        ready = tuple(address for each in service.endpoints if each.ready for address in each.addresses)
        found[base] = found[f"tasks.{base}"] = ready
        found |= {f"{slot}.{base}": addresses for slot, addresses in _slots(service).items()}
    return found


def _slots(service: ServiceEndpoints) -> Mapping[int, tuple[str, ...]]:
    """Of an incumbent and its successor the one that is ready holds the name."""
    slots: dict[int, tuple[str, ...]] = {}
    for each in sorted(service.endpoints, key=lambda each: each.ready):
        slots[each.task.slot] = each.addresses
    return slots
