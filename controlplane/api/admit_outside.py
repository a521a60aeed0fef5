"""Published ports and routes are changed by one after the other. Pure.

Whether a port, a host or a path is free is asked of all services, also of one that another apply writes just now: two
that share no key would both be let in.
"""

from controlplane.api.draft import Draft
from controlplane.store import codec, keys
from orch.model.names import ServiceName
from orch.model.network import RouteSpec
from orch.model.policy import PortSpec
from orch.model.service import Service, ServiceSpec


def take_turn(draft: Draft, name: ServiceName, spec: ServiceSpec, known: Service | None) -> None:
    """Of two changes that let a service be reached in another way, the second looks again at what the first did."""
    outside = _outside(spec)
    if outside and (known is None or _outside(known.spec) != outside):
        draft.write(codec.Mark(keys.OUTSIDE, codec.named(name)))


def _outside(spec: ServiceSpec) -> frozenset[PortSpec | RouteSpec]:
    return frozenset([*spec.routes, *(port for port in spec.template.ports if port.published)])
