"""Where names point."""

from controlplane.controllers import endpoints
from orch.model.task import TaskState
from tests.support.builders import WEB, a_cluster, a_node, a_service, a_task


def test_only_ready_wanted_tasks_on_nodes_that_are_heard_from_are_endpoints() -> None:
    cluster = a_cluster(
        a_node("n1"),
        a_node("n2", down=True),
        a_service(replicas=6),
        a_task(2, node="n1"),
        a_task(1, node="n1"),
        a_task(3, node="n1", ready=False),
        a_task(4, node="n1", stopping=True),
        a_task(5, node="n2"),
        a_task(6, node="n1", state=TaskState.BACKOFF),
        a_task(7),
    )

    found = endpoints.of_service(cluster, WEB)

    assert [(each.task.slot, each.addresses) for each in found.endpoints] == [
        (1, ("10.208.0.1",)),
        (2, ("10.208.0.2",)),
    ]


def test_a_service_without_endpoints_is_known_and_points_nowhere() -> None:
    (found,) = endpoints.of_all(a_cluster(a_service()))

    assert (found.service, found.endpoints) == (WEB, ())
