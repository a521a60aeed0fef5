"""What a tag stands for is asked once, at apply, so that all instances of a revision run the same bytes.

`web:1` becomes `web:1@sha256:…` and stays so, whatever the tag says later; applying the file again asks again,
and a tag that has moved makes a new revision. An image that the registry cannot name now keeps the digest which
the service has of the same tag, or else only its tag, with a warning: then the nodes ask for themselves.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controlplane.api import registry_secrets
from controlplane.cluster import snapshot
from controlplane.loop import clock
from orch.manifest import document
from orch.model.container import ContainerSpec, PullPolicy
from orch.model.names import ServiceName
from orch.oci import keyring, reference
from orch.oci.auth import Credentials
from orch.oci.failure import ImageFailure, Reason
from orch.oci.reference import Reference
from orch.oci.registry import Registry

CONNECT_SECONDS = 1.2
"""One lost packet is sent again after a second. A registry that is there answers, however slowly it thinks."""

SILENT_SECONDS = 30.0
"""A registry that cannot be reached is not waited for again so soon."""

_Asked = tuple[str, Reference]
"""Namespace and image."""
_Found = Mapping[_Asked, "str | ImageFailure"]


@dataclass(slots=True)
class Resolver:
    """`within` bounds the time for all images of an apply; at 0 nobody is asked."""

    registry: Registry
    within: float
    opened: registry_secrets.Opened
    clock: clock.Clock
    _silent: dict[str, tuple[float, ImageFailure]] = field(default_factory=dict)

    async def resolved(
        self, documents: Sequence[document.Written], cluster: snapshot.Cluster
    ) -> tuple[list[document.Written], list[str]]:
        """The documents with digests, and what is to be said about those without."""
        asked = {each for written in documents for each in _asked(written)} if self.within else set()
        if not asked:
            return list(documents), []
        who = {namespace: self._who(namespace, documents, cluster) for namespace in {n for n, _ in asked}}
        found = await self._ask(asked, who)
        warnings: list[str] = []
        return [_pinned(each, found, cluster, warnings.append) for each in documents], warnings

    async def _ask(
        self, asked: set[_Asked], who: Mapping[str, Mapping[str, Credentials]]
    ) -> dict[_Asked, str | ImageFailure]:
        """All at once."""
        tasks = {each: asyncio.create_task(self._digest(each[1], who[each[0]])) for each in asked}
        await asyncio.wait(tasks.values(), timeout=self.within)
        found: dict[_Asked, str | ImageFailure] = {}
        for each, task in tasks.items():
            if task.done():
                found[each] = task.result()
            else:
                task.cancel()
                words = f"registry {each[1].registry} did not answer within {self.within:g} s"
                found[each] = self._note(each[1], ImageFailure(Reason.REGISTRY_UNREACHABLE, words))
        return found

    async def _digest(self, ref: Reference, who: Mapping[str, Credentials]) -> str | ImageFailure:
        until, failure = self._silent.get(ref.registry, (0.0, None))
        if failure is not None and self.clock.steady() < until:
            return failure
        try:
            digest = await self.registry.knowing(who.get).resolve(ref)
        except ImageFailure as failed:
            return self._note(ref, failed)
        self._silent.pop(ref.registry, None)
        return digest

    def _note(self, ref: Reference, failure: ImageFailure) -> ImageFailure:
        if failure.reason is Reason.REGISTRY_UNREACHABLE:
            self._silent[ref.registry] = (self.clock.steady() + SILENT_SECONDS, failure)
        return failure

    def _who(
        self, namespace: str, documents: Sequence[document.Written], cluster: snapshot.Cluster
    ) -> dict[str, Credentials]:
        """What is applied in the same breath counts before what is known."""
        fresh = [
            written.value
            for written in documents
            if isinstance(written.value, document.PlainSecret) and written.value.type == keyring.SECRET_TYPE
        ]
        given = keyring.merged(each.data for each in fresh if each.name.namespace == namespace)
        return registry_secrets.known_in(cluster.secrets, namespace, self.opened) | given


def _asked(written: document.Written) -> Iterator[_Asked]:
    value = written.value
    if not isinstance(value, document.ServiceDocument):
        return
    template = value.spec.template
    for container in (*template.containers, *template.init_containers):
        if (ref := _tagged(container)) is not None:
            yield value.name.namespace, ref


def _tagged(container: ContainerSpec) -> Reference | None:
    """None: there is nothing to ask for."""
    if container.pull_policy is PullPolicy.NEVER:
        return None
    try:
        ref = reference.parse(container.image)
    except ImageFailure:
        return None  # admission says what is wrong with it
    return None if ref.digest or ref.registry == reference.CLUSTER else ref


def _pinned(
    written: document.Written, found: _Found, cluster: snapshot.Cluster, warn: Callable[[str], object]
) -> document.Written:
    value = written.value
    if not isinstance(value, document.ServiceDocument):
        return written
    before = _digests_of(cluster, value.name)

    def pinned(container: ContainerSpec) -> ContainerSpec:
        ref = _tagged(container)
        if ref is None:
            return container
        digest = found[value.name.namespace, ref]
        if isinstance(digest, ImageFailure):
            known = before.get(ref, "")
            stays = "keeps the digest it has" if known else "stays a tag, which each node looks up by itself"
            warn(f"{written.source}: image {ref.familiar} {stays}: {digest.message}")
            digest = known
        if not digest:
            return container
        return container.model_copy(update={"image": replace(ref, digest=digest).familiar})

    template = value.spec.template
    containers = {
        "containers": tuple(map(pinned, template.containers)),
        "init_containers": tuple(map(pinned, template.init_containers)),
    }
    spec = value.spec.model_copy(update={"template": template.model_copy(update=containers)})
    return replace(written, value=replace(value, spec=spec))


def _digests_of(cluster: snapshot.Cluster, name: ServiceName) -> dict[Reference, str]:
    """What the service's tags stand for at present."""
    service = cluster.service(name)
    if service is None:
        return {}
    template = service.spec.template
    found = {}
    for container in (*template.containers, *template.init_containers):
        try:
            ref = reference.parse(container.image)
        except ImageFailure:
            continue
        if ref.tag and ref.digest:
            found[replace(ref, digest=None)] = ref.digest
    return found
