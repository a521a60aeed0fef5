"""What the picture would be after some changes.

The loop decides on its own commits before the mirror has them; `plan` only asks.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from controlplane.cluster import change, editing
from controlplane.cluster.snapshot import EVERY_NODE, Cluster
from orch.model.names import ServiceName, TaskId
from orch.model.task import Wanted


def after(cluster: Cluster, changes: Iterable[change.Change], now: float) -> Cluster:
    """Every change in turn. Telling, waiting and waking change nothing."""
    for each in changes:
        cluster = after_one(cluster, each, now)
    return cluster


def after_one(cluster: Cluster, one: change.Change, now: float) -> Cluster:
    """A change to what is no longer there changes nothing."""
    match one:
        case change.CreateTask(task):
            return editing.with_task(cluster, task)
        case change.AssignTask():
            return _assigned(cluster, one, now)
        case change.RetireTask(id=task, cause=cause):
            known = cluster.task(task)
            if known is None:
                return cluster
            return editing.with_task(cluster, replace(known, wanted=Wanted.STOP, cause=cause, stop_at=now))
        case change.ForgetTask(id=task):
            return _forgotten(cluster, task)
        case change.SaveRollout(rollout):
            return editing.with_rollout(cluster, rollout)
        case change.MarkNode():
            return _marked(cluster, one, now)
        case change.ForgetRevision(service, number):
            return editing.without_revision(cluster, service, number)
        case change.ForgetService(name):
            return _service_forgotten(cluster, name)
        case change.GiveAddress(name, address):
            return editing.with_virtual_address(cluster, address, name) if cluster.service(name) else cluster
        case change.Tell() | change.Waiting() | change.WakeAt():
            return cluster
        case _:
            assert_never(one)


def _assigned(cluster: Cluster, one: change.AssignTask, now: float) -> Cluster:
    known = cluster.task(one.id)
    if known is None:
        return cluster
    cluster = editing.with_task(cluster, replace(known, node=one.node, assigned_at=now, score=one.score))
    for words in one.ports:
        cluster = editing.with_claim(cluster, words, one.id)
    return cluster


def _forgotten(cluster: Cluster, task: TaskId) -> Cluster:
    """Its claims go with it, but not those that a later task has taken over."""
    known = cluster.task(task)
    if known is None:
        return cluster
    for port, holder in cluster.claims.get(known.node, {}).items():
        if holder == task:
            cluster = editing.without_claim(cluster, f"{known.node}/{port}")
    cluster = editing.without_task(cluster, task)
    return editing.without_status(cluster, task)


def _marked(cluster: Cluster, one: change.MarkNode, now: float) -> Cluster:
    node = cluster.node(one.name)
    if node is None:
        return cluster
    status = replace(node.status, condition=one.condition, reason=one.reason, since=now)
    return editing.with_node_status(cluster, status)


def _service_forgotten(cluster: Cluster, name: ServiceName) -> Cluster:
    for number in list(cluster.revisions_of(name)):
        cluster = editing.without_revision(cluster, name, number)
    for address in cluster.virtual_addresses(name):
        cluster = editing.without_virtual_address(cluster, address)
    for port, holder in cluster.claims.get(EVERY_NODE, {}).items():
        if holder.owner == name:
            cluster = editing.without_claim(cluster, f"{EVERY_NODE}/{port}")
    return editing.without_service(editing.without_rollout(cluster, name), name)
