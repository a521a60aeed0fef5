"""What one node needs to know, out of the picture: its tasks, their files, its peers. Pure."""

from collections.abc import Callable, Iterator, Mapping

from controlplane.cluster import snapshot
from orch.model.assignment import AssignedTask, AssignedTemplate, File, PeerNode
from orch.model.config import Config, Secret
from orch.model.container import FileMount
from orch.model.names import ObjectName, ServiceName, TaskId
from orch.model.service import TaskTemplate
from orch.model.task import Task, Wanted
from orch.oci import reference
from orch.oci.failure import ImageFailure

FileKey = tuple[bool, ObjectName, int]
"""Secret or config, its name, its version."""

Mounts = dict[tuple[ServiceName, int], tuple[FileKey, ...]]
"""What each revision mounts."""

Versions = Callable[[FileKey], Config | Secret | None]


def tasks_for(
    cluster: snapshot.Cluster, node: str, is_drained: Callable[[TaskId], bool] = lambda _: True
) -> tuple[AssignedTask, ...]:
    """All that were given to the node and are not forgotten; one that is over is only kept, never run.

    `is_drained` says of one that is to stop whether no node leads anybody to it any more.
    """
    return tuple(
        AssignedTask(task.id, task.revision, wanted, wanted is Wanted.STOP and is_drained(task.id))
        for task in sorted(cluster.tasks_on(node), key=_in_order)
        for wanted in (_wanted(cluster, task),)
    )


def templates_for(cluster: snapshot.Cluster, node: str) -> tuple[AssignedTemplate, ...]:
    """The template of each revision that some task of the node has."""
    revisions = sorted({(task.id.owner, task.id.birth, task.revision) for task in cluster.tasks_on(node)})
    found = ((owner, birth, number, cluster.template(owner, number)) for owner, birth, number in revisions)
    return tuple(
        AssignedTemplate(owner, birth, number, template)
        for owner, birth, number, template in found
        if template
    )


Credentials = Callable[[str, str], tuple[FileKey, ...]]
"""(namespace, registry) → the secrets that say who is asking there."""


def kept_images_for(
    cluster: snapshot.Cluster, node: str, images: dict[ServiceName, frozenset[str]]
) -> tuple[str, ...]:
    """Images of every revision that is kept of the services which have tasks on the node.

    `images` remembers, from one node to the next, what the services of this picture name.
    """
    found: set[str] = set()
    for owner in {task.id.owner for task in cluster.tasks_on(node)}:
        if owner not in images:
            images[owner] = frozenset(
                container.image
                for revision in cluster.revisions_of(owner).values()
                for container in (*revision.template.containers, *revision.template.init_containers)
            )
        found |= images[owner]
    return tuple(sorted(found))


def file_keys_for(
    cluster: snapshot.Cluster,
    node: str,
    mounts: Mounts,
    credentials: Credentials = lambda _namespace, _registry: (),
) -> tuple[FileKey, ...]:
    """Which versions of configs and secrets the unfinished tasks of the node need, and nothing else.

    They need what they mount, and the credentials for the registries of their images. `mounts` remembers, from
    one node to the next, what the revisions of this picture need.
    """
    wanted: set[FileKey] = set()
    for task in cluster.tasks_on(node):
        revision = (task.id.owner, task.revision)
        if revision not in mounts:
            template = cluster.template(*revision)
            mounts[revision] = (
                tuple(_needed(template, revision[0].namespace, credentials)) if template else ()
            )
        if mounts[revision] and not cluster.has_finished(task):
            wanted.update(mounts[revision])
    return tuple(sorted(wanted))


def _needed(template: TaskTemplate, namespace: str, credentials: Credentials) -> Iterator[FileKey]:
    yield from mounted(template, namespace)
    for registry in {_registry_of(each.image) for each in (*template.containers, *template.init_containers)}:
        yield from credentials(namespace, registry)


def _registry_of(image: str) -> str:
    """Empty for what is no reference: the node says so."""
    try:
        return reference.parse(image).registry
    except ImageFailure:
        return ""


def mounted(template: TaskTemplate, namespace: str) -> Iterator[FileKey]:
    """Every config and secret that the template mounts, at its pinned version."""
    for container in (*template.containers, *template.init_containers):
        for is_secret, mounts in ((False, container.configs), (True, container.secrets)):
            yield from (_file_key(is_secret, namespace, mount) for mount in mounts)


def files_for(
    keys: tuple[FileKey, ...], versions: Versions, opened: Callable[[Secret], Mapping[str, bytes]]
) -> tuple[File, ...]:
    """Their contents; one that is not known is left out, and the node says that it misses it."""
    files = []
    for key in keys:
        found = versions(key)
        if isinstance(found, Secret):
            data = dict(opened(found))
            files.append(File(found.name, found.version, secret=True, data=data, type=found.type))
        elif found is not None:
            files.append(File(found.name, found.version, secret=False, data=found.data))
    return tuple(files)


def peers_for(cluster: snapshot.Cluster, node: str) -> tuple[PeerNode, ...]:
    """The other nodes that have an address and a range, heard from or not."""
    return tuple(
        PeerNode(name, other.status.facts.address, other.status.subnets)
        for name, other in sorted(cluster.nodes.items())
        if name != node and other.status.facts.address and other.status.subnets
    )


def subnets_of(cluster: snapshot.Cluster, node: str) -> tuple[str, ...]:
    """The node's own ranges."""
    known = cluster.node(node)
    return known.status.subnets if known else ()


def _in_order(task: Task) -> tuple[str, str, int, int, int]:
    """As the ids compare, at a fraction of the price."""
    identity = task.id
    return (identity.namespace, identity.service, identity.birth, identity.slot, identity.attempt)


def _wanted(cluster: snapshot.Cluster, task: Task) -> Wanted:
    status = cluster.status(task.id)
    return Wanted.STOP if status is not None and status.state.is_final else task.wanted


def _file_key(is_secret: bool, namespace: str, mount: FileMount) -> FileKey:
    return (is_secret, ObjectName(namespace, mount.source), mount.version)
