"""Every service has an address of its own, from its first moment until it is forgotten.

Where a service's address lies in the range follows from its name, so that one which is deleted and comes back is
reached where it was, by whoever still remembers.
"""

import hashlib
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_network

from controlplane.cluster.change import Change, GiveAddress, Waiting
from controlplane.cluster.snapshot import Cluster
from orch.model.names import ServiceName


def decide(cluster: Cluster, name: ServiceName, _now: float) -> Iterator[Change]:
    """One for a service that has none; a service that is being deleted gets none any more."""
    service = cluster.service(name)
    if service is None or service.deleted or cluster.identity is None or cluster.virtual_addresses(name):
        return
    address = free(cluster, name, cluster.identity.service_range)
    if address is None:
        yield Waiting(name, f"no virtual address is free in {cluster.identity.service_range}")
        return
    yield GiveAddress(name, address)


def free(cluster: Cluster, name: ServiceName, service_range: str) -> str | None:
    """The first free address after the one that the name stands for; None when all are taken."""
    network = IPv4Network(ip_network(service_range))
    places = network.num_addresses - 2  # neither the network's own nor that of all
    if len(cluster.addresses) >= places:
        return None
    digest = hashlib.sha256(f"{name.namespace}/{name.name}".encode()).digest()
    start = int.from_bytes(digest[:8]) % places
    for step in range(places):
        address = str(network[1 + (start + step) % places])
        if address not in cluster.addresses:
            return address
    return None
