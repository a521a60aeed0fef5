"""Who may reach a service in the end: its own words, and what its namespace says where it leaves that open."""

from collections.abc import Container, Iterator

from controlplane.cluster.snapshot import Cluster
from orch.model import reach
from orch.model.config import ISOLATED
from orch.model.names import DEFAULT_NAMESPACE, ServiceName
from orch.model.network import NetworkSpec
from orch.model.service import Service


def effective(cluster: Cluster, service: Service) -> NetworkSpec:
    """Without the word `default`."""
    spec, namespace = service.spec.network, service.name.namespace
    known = cluster.namespaces.get(namespace)
    meant = f"ns/{namespace}" if known is not None and known.network == ISOLATED else reach.ANYBODY
    allow_from = _meant(spec.allow_from, meant)
    egress = _meant(spec.egress, reach.ANYBODY)
    if (allow_from, egress) == (spec.allow_from, spec.egress):
        return spec
    return spec.model_copy(update={"allow_from": allow_from, "egress": egress})


def unknown(service: Service, services: Container[ServiceName], namespaces: Container[str]) -> Iterator[str]:
    """A sentence for each word that names what does not exist (yet)."""
    network = service.spec.network
    for key, words in (("allowFrom", network.allow_from), ("egress", network.egress)):
        for word in words:
            match reach.meant(word, service.name.namespace):
                case reach.OfService(name) if name not in services:
                    yield f"{service.name}: network.{key}: {word}: there is no service {name} yet"
                case reach.OfNamespace(name) if name != DEFAULT_NAMESPACE and name not in namespaces:
                    yield f"{service.name}: network.{key}: {word}: there is no namespace {name} yet"
                case _:
                    pass


def _meant(words: tuple[str, ...], default: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(default if word == reach.DEFAULT else word for word in words))
