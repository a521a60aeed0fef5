"""What was decided → groups of store operations, with what they were decided on as guards. Pure.

A group is what must happen together. A value saved twice is saved once, as it is in the end, where it was
saved first. A decision that would otherwise write one key twice (a port changes hands) is cut there: the rest
is decided again, on the picture with the first part done.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from controlplane.cluster import change, snapshot
from controlplane.store import codec, keys, port, sequence
from orch.model.names import ServiceName, TaskId
from orch.model.task import Task, Wanted


@dataclass(slots=True)
class Group:
    """Edits that belong together, and the keys that must be as the picture shows them."""

    edits: dict[str, codec.Edit] = field(default_factory=dict)
    looked_at: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Telling:
    """An event, and what must have happened before anybody is told."""

    what: change.Tell
    after: int
    """So many groups are in the store."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A decision as it will be carried out."""

    groups: tuple[Group, ...]
    tellings: tuple[Telling, ...]
    was_cut: bool
    """Not all of it is in here: decide again."""


def plan(cluster: snapshot.Cluster, changes: Iterable[change.Change], now: float) -> Plan:
    """In the order in which it was decided."""
    draft = _Draft(cluster, now)
    tellings: list[Telling] = []
    was_cut = False
    for each in changes:
        if isinstance(each, change.Tell):
            tellings.append(Telling(each, len(draft.groups)))
        elif not isinstance(each, change.Waiting | change.WakeAt) and not draft.add(each):
            was_cut = True
            break
    return Plan(tuple(draft.groups), tuple(tellings), was_cut)


def guarded(cluster: snapshot.Cluster, group: Group) -> sequence.Group:
    """For the store: everything looked at or written must be as the picture shows it."""
    watched = sorted(group.looked_at | set(group.edits))
    guards = tuple(port.as_seen(key, cluster.modified.get(key)) for key in watched)
    return sequence.Group(guards, tuple(codec.write(edit, cluster.newer) for edit in group.edits.values()))


class _Draft:
    """Groups in the making."""

    def __init__(self, cluster: snapshot.Cluster, now: float) -> None:
        self.groups: list[Group] = []
        self._cluster = cluster
        self._now = now
        self._written: dict[str, Group] = {}
        self._tasks: dict[TaskId, Task] = {}

    def add(self, one: change.Write) -> bool:
        """False when it would write what an earlier part of the decision writes."""
        match one:
            case change.CreateTask(task=task):
                return self._save_task(task, ())
            case change.AssignTask():
                return self._assign(one)
            case change.RetireTask(id=identity, cause=cause):
                known = self._task(identity)
                if known is None:
                    return True
                return self._save_task(replace(known, wanted=Wanted.STOP, cause=cause, stop_at=self._now), ())
            case change.ForgetTask(id=identity):
                return self._new_group(list(_forget_task(self._cluster, identity)))
            case change.SaveRollout(rollout=rollout):
                return self._save(codec.Save(rollout), keys.service(rollout.service))
            case change.MarkNode():
                node = self._cluster.node(one.name)
                if node is None:
                    return True
                status = replace(node.status, condition=one.condition, reason=one.reason, since=self._now)
                return self._new_group([codec.Save(status)])
            case change.ForgetRevision(service=name, number=number):
                return self._new_group([codec.Drop(keys.revision(name, number))], keys.service(name))
            case change.ForgetService(service=name):
                return self._new_group(list(_forget_service(self._cluster, name)))
            case change.GiveAddress(service=name, address=address):
                claim = codec.Mark(keys.claim_virtual_address(address), codec.named(name))
                return self._new_group([claim], keys.service(name))
            case change.Tell():
                return True
            case _:
                assert_never(one)

    def _assign(self, one: change.AssignTask) -> bool:
        known = self._task(one.id)
        if known is None:
            return True
        placed = replace(known, node=one.node, assigned_at=self._now, score=one.score)
        claims = [codec.claim(keys.claim_port(words), one.id) for words in one.ports]
        if any(claim.key in self._written for claim in claims):
            return False
        return self._save_task(placed, claims, keys.node_spec(one.node))

    def _save_task(self, task: Task, claims: Sequence[codec.Edit], *looked_at: str) -> bool:
        self._tasks[task.id] = task
        return self._save(codec.Save(task), keys.service(task.id.owner), *looked_at, beside=claims)

    def _save(self, edit: codec.Save, *looked_at: str, beside: Sequence[codec.Edit] = ()) -> bool:
        """In the group that saves the same key already, or in a new one."""
        group = self._written.get(edit.key)
        if group is None:
            return self._new_group([edit, *beside], *looked_at)
        if not isinstance(group.edits[edit.key], codec.Save):
            return False
        for each in (edit, *beside):
            group.edits[each.key] = each
            self._written[each.key] = group
        group.looked_at.update(looked_at)
        return True

    def _new_group(self, edits: list[codec.Edit], *looked_at: str) -> bool:
        group = Group({edit.key: edit for edit in edits}, set(looked_at))
        if any(key in self._written for key in group.edits):
            return False
        self.groups.append(group)
        self._written.update(dict.fromkeys(group.edits, group))
        return True

    def _task(self, identity: TaskId) -> Task | None:
        return self._tasks.get(identity) or self._cluster.task(identity)


def _forget_task(cluster: snapshot.Cluster, identity: TaskId) -> Iterator[codec.Edit]:
    known = cluster.task(identity)
    if known is None:
        return
    yield codec.Drop(keys.task_desired(identity))
    if cluster.status(identity) is not None:
        yield codec.Drop(keys.task_observed(identity))
    for words, holder in cluster.claims.get(known.node, {}).items():
        if holder == identity:
            yield codec.Drop(keys.claim_port(f"{known.node}/{words}"))


def _forget_service(cluster: snapshot.Cluster, name: ServiceName) -> Iterator[codec.Edit]:
    yield codec.Drop(keys.service(name))
    for number in cluster.revisions_of(name):
        yield codec.Drop(keys.revision(name, number))
    if name in cluster.rollouts:
        yield codec.Drop(keys.rollout(name))
    for address in cluster.virtual_addresses(name):
        yield codec.Drop(keys.claim_virtual_address(address))
    for words, holder in cluster.claims.get(snapshot.EVERY_NODE, {}).items():
        if holder.owner == name:
            yield codec.Drop(keys.claim_port(f"{snapshot.EVERY_NODE}/{words}"))
