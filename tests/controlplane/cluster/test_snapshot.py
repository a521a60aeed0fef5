"""The picture answers, and its derived parts follow every edit."""

from dataclasses import replace

import pytest

from controlplane.cluster import editing
from controlplane.cluster.snapshot import Cluster
from orch.model.names import TaskId
from orch.model.resources import Resources
from orch.model.task import TaskState, Wanted
from tests.support.builders import (
    MEBIBYTE,
    WEB,
    a_cluster,
    a_node,
    a_service,
    a_task,
    a_template,
    reported,
    stable,
    with_part,
)

ONE = TaskId("default", "web", 1, 1, 1)
BIG = a_service(template=a_template(cpu=250, memory=64 * MEBIBYTE))


def test_an_assigned_task_holds_what_it_requests_until_it_has_finished() -> None:
    cluster = a_cluster(a_node("n1"), BIG, a_task(1, node="n1"))
    assert cluster.allocated_on("n1") == Resources(250, 64 * MEBIBYTE)

    cluster = reported(cluster, ONE, TaskState.STOPPING)
    assert cluster.allocated_on("n1") == Resources(250, 64 * MEBIBYTE)

    cluster = reported(cluster, ONE, TaskState.COMPLETE)
    assert cluster.allocated_on("n1") == Resources()
    assert [task.id for task in cluster.tasks_on("n1")] == [ONE]


def test_forgetting_a_finished_task_gives_nothing_back_twice() -> None:
    cluster = a_cluster(a_node("n1"), BIG, a_task(1, node="n1", state=TaskState.FAILED))

    for order in ("task first", "status first"):
        first = editing.without_task if order == "task first" else editing.without_status
        gone = editing.without_task(editing.without_status(first(cluster, ONE), ONE), ONE)
        assert gone.allocated_on("n1") == Resources()
        assert not gone.tasks_on("n1")
        assert not gone.tasks


def test_a_revision_that_is_written_anew_changes_what_its_tasks_hold() -> None:
    cluster = a_cluster(a_node("n1"), BIG, a_task(1, node="n1"))

    for part in a_service(template=a_template(cpu=100)):
        cluster = with_part(cluster, part)

    assert cluster.allocated_on("n1") == Resources(100, 0)


def test_a_revision_that_comes_after_its_tasks_counts_all_the_same() -> None:
    cluster = a_cluster(a_node("n1"), a_task(1, node="n1"))
    for part in BIG:
        cluster = with_part(cluster, part)

    assert cluster.allocated_on("n1") == Resources(250, 64 * MEBIBYTE)


def test_the_rollout_of_an_earlier_life_is_not_remembered() -> None:
    assert a_cluster(a_service(birth=7), stable(birth=1)).rollout(WEB) is None


@pytest.mark.parametrize(
    ("task", "state"),
    [
        (a_task(1), TaskState.PENDING),
        (a_task(1, stopping=True), TaskState.COMPLETE),
        (a_task(1, node="n1")[:1], TaskState.ASSIGNED),
        (a_task(1, node="n1", state=TaskState.BACKOFF), TaskState.BACKOFF),
        ((), TaskState.COMPLETE),
    ],
)
def test_what_no_node_has_said_follows_from_what_is_wanted(task: tuple, state: TaskState) -> None:
    assert a_cluster(a_service(), task).state(ONE) is state


def test_a_task_is_available_when_it_was_ready_for_long_enough_on_a_node_that_is_heard_from() -> None:
    parts = (a_service(min_ready=10), a_task(1, node="n1", ready_since=100.0))
    up, down = a_cluster(a_node("n1"), parts), a_cluster(a_node("n1", down=True), parts)
    task = up.task(ONE)
    assert task is not None

    assert not up.is_available(task, 109.9)
    assert up.is_available(task, 110.0)
    assert not down.is_available(task, 110.0)
    assert not up.is_available(replace(task, wanted=Wanted.STOP), 110.0)


def test_a_task_on_a_node_that_nobody_knows_is_lost() -> None:
    cluster = a_cluster(a_service(), a_task(1, node="n1"))
    task = cluster.task(ONE)
    assert task is not None

    assert cluster.is_lost(task)


def test_guards_know_the_last_write_of_every_key() -> None:
    cluster = editing.at(Cluster(), 5, {"/orch/a": 4, "/orch/b": 5})

    assert (cluster.revision, dict(cluster.modified)) == (5, {"/orch/a": 4, "/orch/b": 5})
    assert dict(editing.at(cluster, 6, {"/orch/a": None}).modified) == {"/orch/b": 5}


def test_an_edit_leaves_the_picture_it_came_from_alone() -> None:
    before = a_cluster(a_node("n1"), BIG)
    after = with_part(before, a_task(1, node="n1")[0])

    assert not before.tasks_of(WEB)
    assert before.allocated_on("n1") == Resources()
    assert after.allocated_on("n1") == Resources(250, 64 * MEBIBYTE)
