"""Ports of the node on which HTTP routes are served: a published port would lead their packets elsewhere (pure)."""

from dataclasses import dataclass

from agent.network.rules import Door
from orch.model.assignment import EndpointSection


@dataclass(frozen=True, slots=True)
class RoutePorts:
    """Where this node serves routes, once there are any; 0 is nowhere."""

    http: int = 0
    https: int = 0

    def reserved(self, section: EndpointSection) -> frozenset[int]:
        """Those that are served by what the control plane says now."""
        routes = [route for service in section.services for route in service.routes]
        ports = (self.http if routes else 0, self.https if any(route.tls for route in routes) else 0)
        return frozenset(port for port in ports if port)


def is_reserved(door: Door, reserved: frozenset[int]) -> bool:
    """Routes are TCP; on whichever address the door is, the proxy listens there, too."""
    return door.protocol == "tcp" and door.port in reserved


def why_not(door: Door) -> str:
    """For people."""
    return (
        f"port {door.host_ip or '*'}:{door.port}/{door.protocol} is published, but this node serves HTTP routes "
        "there, and goes on to: publish another port, or give orch-agent another --http-port or --https-port"
    )
