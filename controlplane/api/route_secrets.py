"""Which secrets hold the certificates of HTTP routes: every node serves them, so every node needs them."""

from collections.abc import Mapping

from controlplane.api import assignments
from controlplane.cluster import snapshot
from controlplane.store import keys
from orch.model.config import TLS_TYPE, Secret
from orch.model.names import ObjectName, ServiceName
from orch.model.service import Service


def concerns(key: str) -> bool:
    """Whether a change of this key may change who needs which."""
    return key.startswith((keys.SERVICES, keys.SECRETS))


class RouteSecrets:
    """Remembers what it found for what it saw last: pictures share what did not change."""

    def __init__(self) -> None:
        self._services: Mapping[ServiceName, Service] | None = None
        self._secrets: Mapping[ObjectName, Secret] | None = None
        self._found: tuple[assignments.FileKey, ...] = ()

    def at(self, cluster: snapshot.Cluster) -> tuple[assignments.FileKey, ...]:
        """In their present versions."""
        if cluster.services is not self._services or cluster.secrets is not self._secrets:
            self._services, self._secrets = cluster.services, cluster.secrets
            self._found = tuple(sorted(_found(cluster)))
        return self._found


def _found(cluster: snapshot.Cluster) -> set[assignments.FileKey]:
    names = {
        ObjectName(service.name.namespace, route.tls)
        for service in cluster.services.values()
        if not service.deleted
        for route in service.spec.routes
        if route.tls
    }
    known = ((name, cluster.secrets.get(name)) for name in names)
    return {(True, name, each.version) for name, each in known if each is not None and each.type == TLS_TYPE}
