"""What is behind a service: its ports, and every task that has an address, with whether it is to be reached."""

from collections.abc import Iterator

from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import reach
from orch.model.assignment import Endpoint, ServiceEndpoints
from orch.model.names import ServiceName
from orch.model.policy import PortSpec
from orch.model.service import Service, TaskTemplate


def of_service(cluster: Cluster, name: ServiceName) -> ServiceEndpoints:
    """By slot. Ready are the wanted and well on nodes that are heard from; what is to stop is ready no more at once."""
    service = cluster.service(name)
    if service is None:
        return ServiceEndpoints(name, tuple(_endpoints(cluster, name, ())))
    ports = ports_of(cluster, service)
    return ServiceEndpoints(
        name,
        tuple(_endpoints(cluster, name, ports)),
        cluster.virtual_addresses(name),
        ports,
        reach.effective(cluster, service),
        service.spec.routes,
    )


def of_all(cluster: Cluster) -> tuple[ServiceEndpoints, ...]:
    """Every service, by name, also one without endpoints: its name is known and points nowhere."""
    return tuple(of_service(cluster, name) for name in sorted(cluster.services))


def ports_of(cluster: Cluster, service: Service) -> tuple[PortSpec, ...]:
    """Those that were asked for; and while another revision is in place, whatever that has beside them."""
    found = {_identity(port): port for port in service.spec.template.ports}
    rollout = cluster.rollout(service.name)
    stable = cluster.template(service.name, rollout.stable) if rollout is not None else None
    for port in stable.ports if stable is not None else ():
        if not any(_collide(port, other) for other in found.values()):
            found.setdefault(_identity(port), port)
    return tuple(found.values())


def _endpoints(cluster: Cluster, name: ServiceName, ports: tuple[PortSpec, ...]) -> Iterator[Endpoint]:
    for task in cluster.tasks_of(name):
        status = cluster.status(task.id)
        if status is None or not status.addresses or status.state.is_final:
            continue
        template = cluster.template(name, task.revision)
        targets = _targets(template, ports) if template is not None else ()
        ready = cluster.is_ready(task)
        yield Endpoint(task.id, task.node, status.addresses, ready, task.revision, targets)


def _targets(template: TaskTemplate, ports: tuple[PortSpec, ...]) -> tuple[int, ...]:
    """Aligned with the ports; empty where nothing differs."""
    if template.ports == ports:
        return ()
    own = {_identity(port): port.target for port in template.ports}
    targets = tuple(own.get(_identity(port), 0) for port in ports)
    return () if targets == tuple(port.target for port in ports) else targets


def _identity(port: PortSpec) -> tuple[object, ...]:
    """What makes it the same port in another revision: its name, or where it is reached."""
    if port.name:
        return (port.name, port.published, port.host_ip)
    return ("", port.port or port.target, port.protocol, port.published, port.host_ip)


def _collide(one: PortSpec, other: PortSpec) -> bool:
    """Both would take the same packets."""
    if one.protocol != other.protocol:
        return False
    same_inside = (one.port or one.target) == (other.port or other.target)
    return same_inside or (one.published > 0 and one.published == other.published)
