"""Images of the cluster's own registry, by their short names.

`image: web:1` names no registry. When the cluster's own has such an image, that one is meant, and what its tag
stands for at the moment is written down: all instances of a revision run the same bytes, whatever the tag says
later. Without one it is Docker Hub's, as everywhere.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from controlplane.cluster.snapshot import Cluster
from orch.manifest import document
from orch.model.container import ContainerSpec
from orch.oci import reference
from orch.oci.failure import ImageFailure

Digest = Callable[[str, str], Awaitable[str]]
"""(repository, tag) → what it stands for in the cluster's own registry; empty: there is no such tag."""


async def pinned(documents: Sequence[document.Written], digest_of: Digest) -> list[document.Written]:
    """The documents with such images written out."""
    return [await _pinned(each, digest_of) for each in documents]


def run_by(cluster: Cluster) -> set[tuple[str, str]]:
    """(repository, digest) of what revisions within the history limits run, or may run again."""
    images = {
        container.image
        for revisions in cluster.revisions.values()
        for revision in revisions.values()
        for container in (*revision.template.containers, *revision.template.init_containers)
    }
    refs = [reference.parse(image) for image in images if image.startswith(f"{reference.CLUSTER}/")]
    return {(ref.repository, ref.digest) for ref in refs if ref.digest}


async def _pinned(written: document.Written, digest_of: Digest) -> document.Written:
    value = written.value
    if not isinstance(value, document.ServiceDocument):
        return written
    template = value.spec.template
    changed = {
        "containers": tuple([await _container(each, digest_of) for each in template.containers]),
        "init_containers": tuple([await _container(each, digest_of) for each in template.init_containers]),
    }
    if changed == {name: getattr(template, name) for name in changed}:
        return written
    spec = value.spec.model_copy(update={"template": template.model_copy(update=changed)})
    return replace(written, value=replace(value, spec=spec))


async def _container(spec: ContainerSpec, digest_of: Digest) -> ContainerSpec:
    image = await _image(spec.image, digest_of)
    return spec if image == spec.image else spec.model_copy(update={"image": image})


async def _image(text: str, digest_of: Digest) -> str:
    is_ours = text.startswith(f"{reference.CLUSTER}/")
    if reference.names_a_registry(text) and not is_ours:
        return text
    try:
        ref = reference.of_own(text)
    except ImageFailure:
        return text  # admission says what is wrong with it
    if ref.digest:
        return text
    digest = await digest_of(ref.repository, ref.wanted)
    return str(replace(ref, digest=digest)) if digest else text
