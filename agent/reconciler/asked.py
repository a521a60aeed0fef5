"""What is asked of this node: the control plane's sections, task by task, ready for the decider (pure)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from orch.model.assignment import AssignedTemplate, TaskSection
from orch.model.container import ContainerSpec, FileMount
from orch.model.names import TaskId
from orch.model.policy import NodeLoss
from orch.model.service import TaskTemplate
from orch.model.task import Wanted

FileKey = tuple[bool, str, str, int]
"""Of a config or secret: is it a secret, namespace, name, version."""

UNDRAINED_SECONDS = 10.0
"""After this long a task ends also when nobody says that the nodes have let go of it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One task, and what is wanted of it."""

    id: TaskId
    revision: int
    template: TaskTemplate = field(compare=False)
    """The revision's, which never changes."""
    wanted: Wanted = Wanted.RUN
    stop_since: float = 0.0
    """When this node was first told to stop it."""
    drained_since: float = 0.0
    """When this node was first told that no node leads anybody to it any more; 0 is not yet."""
    missing: tuple[str, ...] = ()
    """What has not come yet and must, before it starts: `secret db, version 3`."""

    @property
    def key(self) -> str:
        return self.id.key

    @property
    def hostname(self) -> str:
        """What its containers call their machine."""
        return self.template.hostname or self.id.name

    @property
    def leaves_at(self) -> float:
        """Of one that is to stop: when it may be told so, its connections having drained."""
        return (self.drained_since or self.stop_since + UNDRAINED_SECONDS) + self.template.drain_delay

    @property
    def stop_after(self) -> float | None:
        """How long the task may run on a node that is alone; None is for ever."""
        loss = self.template.on_node_loss
        return loss.stop_after if loss.action is NodeLoss.STOP_AFTER else None

    def all_containers(self) -> tuple[ContainerSpec, ...]:
        """Init containers, in order, then the others."""
        return (*self.template.init_containers, *self.template.containers)


def tasks_of(
    section: TaskSection,
    have: frozenset[FileKey],
    known: Mapping[str, Asked],
    now: float,
    lacking: tuple[str, ...] = (),
    alone: tuple[str, ...] = (),
) -> dict[str, Asked]:
    """All tasks of the section by key. A stop keeps the time at which those asked before were first told.

    `lacking` is what no task can start without and the node has not got yet, `alone` the same for those that
    must not run on a node without contact. A task whose template is missing is not in it (see `is_whole`).
    """
    templates = {_template_key(each): each.template for each in section.templates}
    found = {}
    for task in section.tasks:
        template = templates.get((task.id.namespace, task.id.service, task.id.birth, task.revision))
        if template is None:
            continue
        files = tuple(_words(each) for each in sorted(files_of(task.id.namespace, template) - have))
        waits = alone if template.on_node_loss.action is NodeLoss.STOP_AFTER else ()
        before = known.get(task.id.key)
        found[task.id.key] = Asked(
            id=task.id,
            revision=task.revision,
            template=template,
            wanted=task.wanted,
            stop_since=_since(task.wanted is Wanted.STOP, before.stop_since if before else 0.0, now),
            drained_since=_since(task.drained, before.drained_since if before else 0.0, now),
            missing=(*files, *lacking, *waits),
        )
    return found


def is_whole(section: TaskSection) -> bool:
    """Every task has its template."""
    have = {_template_key(each) for each in section.templates}
    return all(
        (each.id.namespace, each.id.service, each.id.birth, each.revision) in have for each in section.tasks
    )


def files_of(namespace: str, template: TaskTemplate) -> frozenset[FileKey]:
    """The configs and secrets that a task mounts."""
    return frozenset(
        (secret, namespace, mount.source, mount.version)
        for container in (*template.init_containers, *template.containers)
        for secret, mount in mounts_of(container)
    )


def mounts_of(container: ContainerSpec) -> Iterator[tuple[bool, FileMount]]:
    """Its configs, then its secrets; the flag says which."""
    yield from ((False, mount) for mount in container.configs)
    yield from ((True, mount) for mount in container.secrets)


def _since(is_so: bool, before: float, now: float) -> float:
    """When it was first so."""
    return (before or now) if is_so else 0.0


def _template_key(each: AssignedTemplate) -> tuple[str, str, int, int]:
    return (each.service.namespace, each.service.name, each.birth, each.revision)


def _words(key: FileKey) -> str:
    secret, _, name, version = key
    return f"{'secret' if secret else 'config'} {name}, version {version}"
