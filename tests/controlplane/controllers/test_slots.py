"""What is in the slots of a service."""

from controlplane.controllers import slots
from orch.model.task import TaskState
from tests.support.builders import WEB, a_cluster, a_service, a_task


def test_the_lowest_live_attempt_is_the_incumbent_and_the_next_the_successor() -> None:
    cluster = a_cluster(
        a_service(), a_task(1, 1, node="n1", state=TaskState.FAILED), a_task(1, 2, node="n1"), a_task(1, 3)
    )
    service = cluster.service(WEB)
    assert service is not None

    slot = slots.read(cluster, service).wanted[1]

    assert [task.id.attempt for task in slot.live] == [2, 3]
    assert slot.incumbent is not None
    assert slot.successor is not None
    assert (slot.incumbent.id.attempt, slot.successor.id.attempt) == (2, 3)


def test_tasks_of_an_earlier_life_are_in_no_slot() -> None:
    cluster = a_cluster(a_service(birth=7), a_task(1, birth=1, node="n1"))
    service = cluster.service(WEB)
    assert service is not None

    assert slots.read(cluster, service).wanted[1].incumbent is None
