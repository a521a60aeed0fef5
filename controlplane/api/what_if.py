"""What would happen if this were applied: the deciders on a picture that does not exist."""

import asyncio
from collections.abc import Iterator
from typing import assert_never

from controlplane.api.draft import Draft
from controlplane.cluster import change, editing, snapshot
from controlplane.loop import folding, picture, pipeline
from controlplane.store import codec
from orch.model.names import ServiceName, TaskId


async def decisions(draft: Draft, deciders: pipeline.Pipeline) -> dict[ServiceName, list[str]]:
    """The next decision about each service of the draft, in sentences. Others have their turn meanwhile."""
    imagined = picture_after(draft)
    found: dict[ServiceName, list[str]] = {}
    for name in sorted(draft.services):
        changes: list[change.Change] = []
        cluster, is_left = imagined, True
        while is_left:
            is_left = False
            for part in (deciders.decide_service, deciders.place_one):
                for decision in part(cluster, name, draft.now):
                    changes += decision.changes
                    cluster = decision.after
                    is_left = is_left or bool(decision.left)
                    await asyncio.sleep(0)
        found[name] = [sentence for each in changes for sentence in _sentences(each)]
    return found


def picture_after(draft: Draft) -> snapshot.Cluster:
    """The picture with the draft in it, at the revision after this one."""
    step = folding.Step(draft.cluster, {}, {})
    touched = picture.Touched()
    revision = draft.cluster.revision + 1
    written: dict[str, int | None] = {}
    for key, edit in draft.edits.items():
        match edit:
            case codec.Save(value=value):
                step.save(key, codec.born(value, revision), touched)
            case codec.Mark(content=content):
                step.mark(key, content, touched)
            case codec.Drop():
                step.drop(key, touched)
            case _:
                assert_never(edit)
        written[key] = None if isinstance(edit, codec.Drop) else revision
    return editing.at(step.cluster, revision, written)


def _sentences(one: change.Change) -> Iterator[str]:
    match one:
        case change.AssignTask(id=task, node=node):
            yield f"{task.name} on {node}"
        case change.RetireTask(id=task, cause=cause):
            yield f"{task.full_name} stops: {cause}"
        case change.Waiting(subject=TaskId() as task, reason=reason):
            yield f"{task.name} waits: {reason}"
        case _:
            return
