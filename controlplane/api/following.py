"""What a user follows by name goes on when a task is replaced: tasks that begin later belong to it, too."""

import asyncio
from collections.abc import AsyncIterator

from controlplane.api import catalog
from controlplane.cluster import snapshot
from controlplane.loop import picture
from orch.model.names import ServiceName, TaskId
from orch.model.task import Task, TaskState


async def later_tasks(
    pictures: picture.Picture, owner: ServiceName, name: str, known: set[TaskId]
) -> AsyncIterator[Task]:
    """Each task that bears the name and was not known, once its containers begin; ends with the service.

    `name` is a service or a slot of `owner`; one attempt has no successor that bears its name.
    """
    touched: set[TaskId] = set()
    moved = asyncio.Event()

    def note(step: picture.Touched) -> None:
        mine = {each for each in step.tasks - known if each.owner == owner}
        touched.update(each for each in mine if catalog.task_is_named(each, [name]))
        if touched or owner in step.services:
            moved.set()

    stop = pictures.listen(note)
    try:
        while _is_there(pictures.cluster, owner):
            for identity in sorted(touched):
                task = pictures.cluster.task(identity)
                if task is not None and task.node and _has_begun(pictures.cluster, identity):
                    known.add(identity)
                    yield task
            touched -= known
            await moved.wait()
            moved.clear()
    finally:
        stop()


def _has_begun(cluster: snapshot.Cluster, task: TaskId) -> bool:
    """Before, its node has no container to ask."""
    return cluster.state(task) >= TaskState.STARTING


def _is_there(cluster: snapshot.Cluster, owner: ServiceName) -> bool:
    service = cluster.service(owner)
    return service is not None and not service.deleted
