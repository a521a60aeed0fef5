"""Healthy tasks are where a service's name points."""

from controlplane.cluster.snapshot import Cluster
from orch.model.assignment import Endpoint, ServiceEndpoints
from orch.model.names import ServiceName


def of_service(cluster: Cluster, name: ServiceName) -> ServiceEndpoints:
    """Ready, wanted, on a node that is heard from; by slot. A task that is to stop leaves at once."""
    endpoints = []
    for task in cluster.tasks_of(name):
        status = cluster.status(task.id)
        if status is not None and status.addresses and cluster.is_ready(task):
            endpoints.append(Endpoint(task.id, task.node, status.addresses))
    return ServiceEndpoints(name, tuple(endpoints))


def of_all(cluster: Cluster) -> tuple[ServiceEndpoints, ...]:
    """Every service, by name, also one without endpoints: its name is known and points nowhere."""
    return tuple(of_service(cluster, name) for name in sorted(cluster.services))
