"""Published ports: one that every node listens on is one service's alone. Pure."""

from collections.abc import Iterator

from controlplane.api.draft import Draft
from controlplane.cluster import snapshot
from controlplane.store import codec, keys
from orch.model.names import ServiceName, TaskId
from orch.model.policy import PortSpec
from orch.model.service import Service, ServiceSpec

ANY_ADDRESS = "0.0.0.0"  # noqa: S104  as claims spell it


def claim(draft: Draft, name: ServiceName, spec: ServiceSpec) -> None:
    """What the service publishes on every node is its own from here on; whatever stands against it is a problem."""
    wanted = {_words(port): port for port in spec.template.ports if port.is_ingress}
    for port in wanted.values():
        for other, why in _against(draft, name, port):
            draft.refuse_service(
                name,
                f"port {port.published}/{port.protocol} is published {why} by {other}: "
                "choose another port, or delete that service first",
            )
    for port in (each for each in spec.template.ports if each.is_on_host):
        for words, other in _claimed(draft, name):
            if _overlaps(words, port):
                draft.refuse_service(
                    name,
                    f"port {port.published}/{port.protocol} is published on every node by {other}: "
                    "choose another port, or delete that service first",
                )
    kept = {*wanted, *_of_stable(draft.cluster, name)}
    own = _own(draft.cluster, name)
    content = codec.claim("", snapshot.holder_of(name)).content
    draft.write(*(codec.Mark(_key(words), content) for words in sorted(wanted.keys() - own)))
    draft.write(*(codec.Drop(_key(words)) for words in sorted(own - kept)))


def shared(draft: Draft, name: ServiceName, spec: ServiceSpec) -> Iterator[str]:
    """Warnings: of two services that publish one port on the nodes of their tasks."""
    own = {(port.published, port.protocol) for port in spec.template.ports if port.is_on_host}
    for other in _others(draft, name):
        for port in other.spec.template.ports:
            if port.is_on_host and (port.published, port.protocol) in own:
                yield (
                    f"service {name}: {other.name} publishes port {port.published}/{port.protocol} too: "
                    "the two are never placed on one node"
                )


def _against(draft: Draft, name: ServiceName, port: PortSpec) -> Iterator[tuple[ServiceName, str]]:
    found = {other: "on every node" for words, other in _claimed(draft, name) if _overlaps(words, port)}
    for other in _others(draft, name):
        for theirs in other.spec.template.ports:
            if theirs.is_on_host and _overlaps(_words(theirs), port):
                found.setdefault(other.name, "on the nodes of its tasks")
    yield from sorted(found.items())


def _claimed(draft: Draft, name: ServiceName) -> Iterator[tuple[str, ServiceName]]:
    """By other services, also by those of the same apply; not by those that are on their way out."""
    held = {words: holder.owner for words, holder in _on_every_node(draft.cluster).items()}
    for key, edit in draft.edits.items():
        if key.startswith(_key("")):
            words = key.removeprefix(_key(""))
            held.pop(words, None)
            if isinstance(edit, codec.Mark):
                held[words] = codec.claimed_by(edit.content).owner
    after = draft.services_after()
    for words, other in held.items():
        is_written = keys.service(other) in draft.edits
        if other != name and other in after and (is_written or _is_in_use(draft.cluster, other, words)):
            yield words, other


def _is_in_use(cluster: snapshot.Cluster, name: ServiceName, words: str) -> bool:
    """By what the service is, or may go back to; what it had before may be taken over."""
    service = cluster.service(name)
    if service is None or service.deleted:
        return False
    asked = {_words(port) for port in service.spec.template.ports if port.is_ingress}
    return words in asked or words in _of_stable(cluster, name)


def _of_stable(cluster: snapshot.Cluster, name: ServiceName) -> Iterator[str]:
    """The revision that is to be gone back to keeps its ports."""
    rollout = cluster.rollout(name)
    template = cluster.template(name, rollout.stable) if rollout is not None else None
    yield from (_words(port) for port in (template.ports if template else ()) if port.is_ingress)


def _own(cluster: snapshot.Cluster, name: ServiceName) -> set[str]:
    return {words for words, holder in _on_every_node(cluster).items() if holder.owner == name}


def _on_every_node(cluster: snapshot.Cluster) -> dict[str, TaskId]:
    return dict(cluster.claims.get(snapshot.EVERY_NODE, {}))


def _others(draft: Draft, name: ServiceName) -> Iterator[Service]:
    """As they will be after this apply."""
    services = draft.services_after()
    yield from (services[other] for other in sorted(services) if other != name)


def _words(port: PortSpec) -> str:
    return f"{port.host_ip or ANY_ADDRESS}:{port.published}/{port.protocol}"


def _key(words: str) -> str:
    return keys.claim_port(f"{snapshot.EVERY_NODE}/{words}")


def _overlaps(words: str, port: PortSpec) -> bool:
    """Both would take the same packets."""
    address, _, tail = words.rpartition(":")
    own = port.host_ip or ANY_ADDRESS
    return tail == f"{port.published}/{port.protocol}" and (address == own or ANY_ADDRESS in {address, own})
