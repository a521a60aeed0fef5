"""A decision becomes groups of operations that may each be the last one written."""

from controlplane.cluster import change, editing
from controlplane.loop import edits
from controlplane.store import codec, keys, port
from orch.model.event import EventType
from orch.model.names import ServiceName, TaskId
from orch.model.rollout import Rollout
from orch.model.task import Task, Wanted
from tests.controlplane.loop.test_picture import WEB, a_task
from tests.support.pictures import a_picture

NOW = 100.0
TASK = a_task().id


def keys_of(plan: edits.Plan) -> list[list[str]]:
    return [list(group.edits) for group in plan.groups]


def saved(plan: edits.Plan, task: TaskId) -> Task:
    for group in plan.groups:
        edit = group.edits.get(keys.task_desired(task))
        if isinstance(edit, codec.Save) and isinstance(edit.value, Task):
            return edit.value
    raise LookupError(task)


def test_a_task_that_is_created_and_placed_is_written_once_with_its_claims() -> None:
    plan = edits.plan(
        a_picture(),
        [change.CreateTask(a_task()), change.AssignTask(TASK, "n1", ports=("n1/:80/tcp",))],
        NOW,
    )
    assert keys_of(plan) == [[keys.task_desired(TASK), keys.claim_port("n1/:80/tcp")]]
    assert saved(plan, TASK).node == "n1"


def test_a_decision_rests_on_the_service_and_the_node_being_as_they_were_seen() -> None:
    cluster = editing.at(a_picture(), 9, {keys.service(WEB): 5, keys.node_spec("n1"): 6})
    plan = edits.plan(cluster, [change.CreateTask(a_task()), change.AssignTask(TASK, "n1")], NOW)
    assert set(edits.guarded(cluster, plan.groups[0]).guards) == {
        port.Unchanged(keys.service(WEB), 5),
        port.Unchanged(keys.node_spec("n1"), 6),
        port.Absent(keys.task_desired(TASK)),
    }


def test_a_memory_saved_twice_is_saved_once_and_first() -> None:
    first, second = Rollout(WEB, target=1), Rollout(WEB, target=1, forgotten_attempt=4)
    plan = edits.plan(
        a_picture(), [change.SaveRollout(first), change.CreateTask(a_task()), change.SaveRollout(second)], NOW
    )
    assert keys_of(plan) == [[keys.rollout(WEB)], [keys.task_desired(TASK)]]
    assert list(plan.groups[0].edits.values()) == [codec.Save(second)]


def test_a_port_that_changes_hands_is_claimed_in_the_next_decision() -> None:
    holder = a_task("n1")
    heir = TaskId("default", "web", 3, 2, 1)
    cluster = editing.with_claim(editing.with_task(a_picture(), holder), "n1/:80/tcp", TASK)
    plan = edits.plan(
        cluster,
        [
            change.ForgetTask(TASK),
            change.CreateTask(Task(heir, 1)),
            change.AssignTask(heir, "n1", ports=("n1/:80/tcp",)),
        ],
        NOW,
    )
    assert plan.was_cut
    assert keys_of(plan) == [
        [keys.task_desired(TASK), keys.claim_port("n1/:80/tcp")],
        [keys.task_desired(heir)],
    ]


def test_a_retired_task_keeps_its_place_and_says_why() -> None:
    plan = edits.plan(
        editing.with_task(a_picture(), a_task("n1")), [change.RetireTask(TASK, "scaled to 0")], NOW
    )
    retired = saved(plan, TASK)
    assert (retired.wanted, retired.node, retired.cause, retired.stop_at) == (
        Wanted.STOP,
        "n1",
        "scaled to 0",
        NOW,
    )


def test_events_and_reasons_are_not_written_with_the_decision() -> None:
    told = change.Tell(EventType.NORMAL, "Scaled", "service/web", "default", "to 3")
    plan = edits.plan(a_picture(), [told, change.Waiting(WEB, "…"), change.WakeAt(NOW + 1)], NOW)
    assert (plan.groups, plan.tellings) == ((), (edits.Telling(told, after=0),))


def test_an_event_is_told_only_when_what_it_tells_of_is_in_the_store() -> None:
    told = change.Tell(EventType.NORMAL, "Scaled", "service/web", "default", "to 3")
    plan = edits.plan(
        editing.with_task(a_picture(), a_task("n1")), [change.RetireTask(TASK, "scaled"), told], NOW
    )
    assert plan.tellings == (edits.Telling(told, after=1),)


def test_what_is_already_gone_is_not_forgotten_twice() -> None:
    plan = edits.plan(
        a_picture(), [change.RetireTask(TASK, "x"), change.ForgetService(ServiceName("a", "b"))], NOW
    )
    assert keys_of(plan) == [[keys.service(ServiceName("a", "b"))]]
