"""What is behind a service."""

from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import endpoints
from orch.model.policy import PortSpec
from orch.model.task import TaskState
from tests.support.builders import WEB, a_cluster, a_node, a_service, a_task, a_template, stable

HTTP = PortSpec(name="http", target=8080, port=80)


def with_ports(*ports: PortSpec) -> object:
    return a_template().model_copy(update={"ports": ports})


def test_only_wanted_and_well_tasks_on_nodes_that_are_heard_from_are_ready() -> None:
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

    assert [(each.task.slot, each.addresses) for each in found.endpoints if each.ready] == [
        (1, ("10.208.0.1",)),
        (2, ("10.208.0.2",)),
    ]
    assert [each.task.slot for each in found.endpoints if not each.ready] == [3, 4, 5, 6]


def test_a_task_that_is_over_has_no_address_any_more() -> None:
    cluster = a_cluster(a_node("n1"), a_service(), a_task(1, node="n1", state=TaskState.COMPLETE))

    assert endpoints.of_service(cluster, WEB).endpoints == ()


def test_a_service_without_endpoints_is_known_and_points_nowhere() -> None:
    (found,) = endpoints.of_all(a_cluster(a_service()))

    assert (found.service, found.endpoints) == (WEB, ())


def two_revisions(old: PortSpec, new: PortSpec) -> Cluster:
    """Task 1 has the old revision, task 2 the new one."""
    return a_cluster(
        a_node("n1"),
        a_service(revision=1, template=with_ports(old)),
        a_service(revision=2, template=with_ports(new), replicas=2),
        stable(revision=1, target=2),
        a_task(1, node="n1", revision=1),
        a_task(2, node="n1", revision=2),
    )


def test_a_port_that_moved_inside_is_reached_in_each_revision_where_it_is() -> None:
    moved = HTTP.model_copy(update={"target": 9090})

    found = endpoints.of_service(two_revisions(HTTP, moved), WEB)

    assert found.ports == (moved,)
    assert [each.targets for each in found.endpoints] == [(8080,), ()]


def test_a_port_that_one_revision_has_not_leads_only_to_the_others() -> None:
    more = PortSpec(name="metrics", target=9100)

    found = endpoints.of_service(two_revisions(more, HTTP), WEB)

    assert found.ports == (HTTP, more)
    assert [each.targets for each in found.endpoints] == [(0, 9100), (8080, 0)]


def test_of_two_ports_at_one_place_the_new_revisions_counts() -> None:
    other = PortSpec(name="web", target=8000, port=80)

    found = endpoints.of_service(two_revisions(other, HTTP), WEB)

    assert found.ports == (HTTP,)
    assert [each.targets for each in found.endpoints] == [(0,), ()]
