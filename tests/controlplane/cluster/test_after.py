"""What the picture would be."""

from controlplane.cluster import change, editing
from controlplane.cluster.after import after
from orch.model.event import EventType
from orch.model.names import TaskId
from orch.model.node import Condition
from orch.model.task import TaskState, Wanted
from tests.support.builders import WEB, a_cluster, a_node, a_service, a_task, stable

ONE = TaskId("default", "web", 1, 1, 1)
NEXT = TaskId("default", "web", 1, 1, 2)


def test_an_assigned_task_has_its_node_its_score_and_its_ports() -> None:
    cluster = a_cluster(a_node("n1"), a_service(), a_task(1))

    then = after(cluster, [change.AssignTask(ONE, "n1", "{}", ("n1/0.0.0.0:80/tcp",))], 5.0)

    task = then.task(ONE)
    assert task is not None
    assert (task.node, task.assigned_at, task.score) == ("n1", 5.0, "{}")
    assert then.claims["n1"]["0.0.0.0:80/tcp"] == ONE


def test_a_retired_task_is_to_stop_and_says_why() -> None:
    then = after(a_cluster(a_service(), a_task(1)), [change.RetireTask(ONE, "scaled to 0")], 5.0)

    task = then.task(ONE)
    assert task is not None
    assert (task.wanted, task.cause, task.stop_at) == (Wanted.STOP, "scaled to 0", 5.0)


def test_a_forgotten_task_takes_its_claims_along_but_not_those_of_its_heir() -> None:
    cluster = a_cluster(a_service(), a_task(1, node="n1", state=TaskState.COMPLETE), a_task(1, 2, node="n1"))
    cluster = editing.with_claim(cluster, "n1/0.0.0.0:80/tcp", NEXT)
    cluster = editing.with_claim(cluster, "n1/0.0.0.0:81/tcp", ONE)

    then = after(cluster, [change.ForgetTask(ONE)], 5.0)

    assert then.task(ONE) is None
    assert then.status(ONE) is None
    assert dict(then.claims["n1"]) == {"0.0.0.0:80/tcp": NEXT}


def test_a_forgotten_service_leaves_nothing() -> None:
    then = after(a_cluster(a_service(), stable()), [change.ForgetService(WEB)], 5.0)

    assert not then.services
    assert not then.revisions
    assert not then.rollouts
    assert not then.requests


def test_a_marked_node_knows_since_when() -> None:
    then = after(a_cluster(a_node("n1")), [change.MarkNode("n1", Condition.DOWN, "silent")], 5.0)

    status = then.nodes["n1"].status
    assert (status.condition, status.since, status.reason) == (Condition.DOWN, 5.0, "silent")


def test_telling_waiting_and_waking_change_nothing() -> None:
    cluster = a_cluster(a_service())
    told = change.Tell(EventType.NORMAL, "Reason", "service/web", "default", "words")

    assert after(cluster, [told, change.Waiting(WEB, "later"), change.WakeAt(9.0)], 5.0) is cluster


def test_changes_to_what_is_gone_change_nothing() -> None:
    cluster = a_cluster(a_service())
    changes = [
        change.AssignTask(ONE, "n1"),
        change.RetireTask(ONE, "x"),
        change.ForgetTask(ONE),
        change.MarkNode("n1", Condition.DOWN, "silent"),
    ]

    assert after(cluster, changes, 5.0) is cluster
