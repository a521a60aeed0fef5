"""Which tasks a request means."""

import time
from collections.abc import Iterable

from controlplane.api import catalog
from controlplane.cluster.snapshot import Cluster
from controlplane.loop.picture import Picture
from orch.model.names import TaskId
from orch.model.task import TaskState
from orch.v1 import control_pb2 as pb
from tests.support.builders import Part, a_cluster, a_service, a_task

TASKS = 2_000
WITHIN_SECONDS = 8.0
"""A tenth of a second does; to look at all tasks for each of them takes half a minute."""


def meant(cluster: Cluster, *names: str) -> list[TaskId]:
    picture = Picture()
    picture.cluster = cluster
    source = catalog.Source(picture, lambda _: {}, lambda _: 0.0)
    kind = catalog.KINDS["tasks"]
    request = pb.GetRequest(kinds=["tasks"], names=names)
    return [each for each in kind.identities(source) if kind.is_meant(source, each, request)]


def replaced(slot: int) -> Iterable[tuple[Part, ...]]:
    return a_task(slot, 1, node="n1", stopping=True, state=TaskState.COMPLETE), a_task(slot, 2, node="n1")


def test_what_has_finished_is_shown_where_nothing_took_its_place() -> None:
    failed = a_task(2, 1, node="n1", state=TaskState.FAILED), a_task(2, 2, node="n1", state=TaskState.FAILED)
    surplus = a_task(3, 1, node="n1", stopping=True, state=TaskState.COMPLETE)

    found = meant(a_cluster(a_service(replicas=2), *replaced(1), *failed, surplus))

    assert [(each.slot, each.attempt) for each in found] == [(1, 2), (2, 2)]


def test_a_listing_of_many_tasks_that_were_replaced_takes_a_moment() -> None:
    cluster = a_cluster(
        a_service(replicas=TASKS), *(each for n in range(1, TASKS + 1) for each in replaced(n))
    )
    began = time.monotonic()

    found = meant(cluster)

    assert len(found) == TASKS
    assert time.monotonic() - began < WITHIN_SECONDS
