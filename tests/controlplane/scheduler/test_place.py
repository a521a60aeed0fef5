"""Where tasks go, and why they wait."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.cluster import change, editing
from controlplane.cluster.after import after
from controlplane.cluster.snapshot import Cluster
from controlplane.scheduler import explain, place
from orch.model.names import ServiceName, TaskId
from orch.model.node import Taint, TaintEffect
from orch.model.policy import PlacementSpec, Toleration
from orch.model.rollout import Phase
from orch.model.task import TaskState
from tests.support.builders import (
    MEBIBYTE,
    WEB,
    a_cluster,
    a_node,
    a_service,
    a_task,
    a_template,
    stable,
)


def placed(cluster: Cluster, name: ServiceName = WEB) -> dict[str, str]:
    """Slot → node, or why not."""
    answers = place.place_service(cluster, name)
    return {
        each.id.name if isinstance(each, change.AssignTask) else each.subject.name: (  # type: ignore[union-attr]
            each.node if isinstance(each, change.AssignTask) else each.reason
        )
        for each in answers
    }


def a_placement(**words: object):
    return a_template(placement=PlacementSpec(**words))


def test_tasks_go_to_the_nodes_that_have_the_fewest() -> None:
    nodes = [a_node(f"n{i}") for i in (1, 2, 3)]
    cluster = a_cluster(nodes, a_service(replicas=4), a_task(1, node="n2"), a_task(2), a_task(3), a_task(4))

    assert placed(cluster) == {"web.2": "n1", "web.3": "n3", "web.4": "n1"}


def test_of_equals_the_least_allocated_wins_and_then_the_first_by_name() -> None:
    other = a_service("db", template=a_template(cpu=1000))
    nodes = [a_node(f"n{i}") for i in (1, 2, 3)]
    cluster = a_cluster(nodes, other, a_task(1, service="db", node="n1"), a_service(), a_task(1))

    assert placed(cluster) == {"web.1": "n2"}


def test_spread_evens_out_the_first_key_first() -> None:
    nodes = [
        a_node("n1", labels={"zone": "a", "rack": "1"}),
        a_node("n2", labels={"zone": "a", "rack": "2"}),
        a_node("n3", labels={"zone": "a", "rack": "2"}),
        a_node("n4", labels={"zone": "b", "rack": "3"}),
    ]
    template = a_placement(spread=("zone", "rack"))
    tasks = [a_task(slot) for slot in range(1, 9)]
    cluster = a_cluster(nodes, a_service(replicas=8, template=template), tasks)

    assert Counter(placed(cluster).values()) == {"n4": 4, "n1": 2, "n2": 1, "n3": 1}


def test_an_incumbent_that_will_leave_does_not_count_for_spreading() -> None:
    nodes = [a_node("n1"), a_node("n2"), a_node("n3")]
    tasks = [a_task(slot, node=f"n{slot}") for slot in (1, 2, 3)]
    placed_before = a_task(1, 2, revision=2, node="n2")
    service = [a_service(replicas=3), a_service(replicas=3, revision=2)]
    cluster = a_cluster(nodes, service, tasks, placed_before, a_task(2, 2, revision=2))

    assert placed(cluster)["web.2"] in {"n1", "n3"}


def test_a_node_on_which_the_revision_failed_comes_last() -> None:
    failed = a_task(1, 1, node="n1", state=TaskState.REJECTED)
    busy = [a_task(slot, node="n2") for slot in (2, 3)]
    cluster = a_cluster(a_node("n1"), a_node("n2"), a_service(replicas=3), failed, busy, a_task(1, 2))

    assert placed(cluster) == {"web.1": "n2"}


def test_the_highest_priority_is_placed_first() -> None:
    node = a_node("n1", cpu=1000)
    low = a_service("a-low", template=a_template(cpu=800))
    high = a_service("z-high", template=a_template(cpu=800), priority=5)
    cluster = a_cluster(node, low, high, a_task(1, service="a-low"), a_task(1, service="z-high"))

    first, second = place.place_all(cluster)

    assert isinstance(first, change.AssignTask)
    assert (first.id.service, first.node) == ("z-high", "n1")
    assert isinstance(second, change.Waiting)


@pytest.mark.parametrize(
    ("node", "template", "reason"),
    [
        (a_node("n1", down=True), None, "1 down (n1); it would fit if you bring n1 back"),
        (a_node("n1", cordoned=True), None, "1 cordoned (n1); it would fit if you uncordon n1"),
        (a_node("n1", drained=True), None, "1 drained (n1); it would fit if you uncordon n1"),
        (
            a_node("n1", taints=[Taint("gpu", "yes")]),
            None,
            (
                "1 taint gpu=yes:NoSchedule not tolerated (n1); "
                "it would fit if you tolerate the taint gpu, or take it off n1"
            ),
        ),
        (
            a_node("n1", labels={"disk": "hdd"}),
            a_placement(node_selector={"disk": "ssd"}),
            "1 without the label disk=ssd (n1); it would fit if you label n1 disk=ssd",
        ),
        (
            a_node("n1"),
            a_placement(constraints=("node.name != n1",)),
            "1 not node.name != n1 (n1); it would fit if you drop or change the constraint 'node.name != n1'",
        ),
        (
            a_node("n1", cpu=1000),
            a_template(cpu=1500),
            "1 without enough cpu (n1); it would fit if you free or add 500m cpu on n1, or request less",
        ),
        (
            a_node("n1", memory=64 * MEBIBYTE),
            a_template(memory=128 * MEBIBYTE),
            (
                "1 without enough memory (n1); "
                "it would fit if you free or add 64Mi memory on n1, or request less"
            ),
        ),
    ],
)
def test_every_filter_says_why_not_and_what_would_help(node: tuple, template: object, reason: str) -> None:
    cluster = a_cluster(node, a_service(template=template), a_task(1))

    assert placed(cluster) == {"web.1": f"the only node does not take it: {reason}"}


def test_a_toleration_lets_the_task_in() -> None:
    template = a_placement(tolerations=(Toleration(key="gpu"),))
    node = a_node("n1", taints=[Taint("gpu", "yes", TaintEffect.NO_EXECUTE)])

    assert placed(a_cluster(node, a_service(template=template), a_task(1))) == {"web.1": "n1"}


def test_the_funnel_names_nodes_filter_by_filter() -> None:
    ssd = {"disk": "ssd"}
    nodes = [
        a_node("n1", cpu=100, labels=ssd),
        a_node("n2", cpu=100, labels=ssd),
        a_node("n3"),
        a_node("n4", down=True),
    ]
    template = a_template(cpu=200, placement=PlacementSpec(node_selector=ssd))

    assert placed(a_cluster(nodes, a_service(template=template), a_task(1)))["web.1"] == (
        "none of 4 nodes takes it: 1 down (n4); 1 without the label disk=ssd (n3); "
        "2 without enough cpu (n1, n2); it would fit if you free or add 100m cpu on n1, or request less"
    )


def test_a_cluster_without_nodes_says_what_to_do() -> None:
    assert "the cluster has no nodes" in placed(a_cluster(a_service(), a_task(1)))["web.1"]


def test_no_more_than_max_per_node() -> None:
    template = a_placement(max_per_node=1)
    cluster = a_cluster(
        a_node("n1"), a_node("n2"), a_service(replicas=3, template=template), a_task(1), a_task(2), a_task(3)
    )

    assert placed(cluster) == {
        "web.1": "n1",
        "web.2": "n2",
        "web.3": "none of 2 nodes takes it: 2 maxPerNode 1 reached (n1, n2); "
        "it would fit if you raise maxPerNode above 1, or add a node",
    }


def test_a_published_port_is_given_once_a_node_and_claimed() -> None:
    template = a_template(published=80)
    cluster = a_cluster(a_node("n1"), a_service(replicas=2, template=template), a_task(1), a_task(2))

    first, second = place.place_service(cluster, WEB)

    assert isinstance(first, change.AssignTask)
    assert first.ports == ("n1/0.0.0.0:80/tcp",)
    assert isinstance(second, change.Waiting)
    assert "port 80/tcp is taken by web.1.1" in second.reason


def test_the_port_of_a_finished_task_is_taken_over_and_that_of_a_stopping_one_is_not() -> None:
    template = a_template(published=80)
    for state, goes in ((TaskState.COMPLETE, True), (TaskState.STOPPING, False)):
        old = a_task(1, 1, node="n1", state=state, stopping=True)
        cluster = a_cluster(a_node("n1"), a_service(template=template), old, a_task(1, 2))
        cluster = editing.with_claim(cluster, "n1/0.0.0.0:80/tcp", TaskId("default", "web", 1, 1, 1))

        assert (placed(cluster)["web.1"] == "n1") is goes


def test_a_bound_task_goes_to_its_node_or_nowhere() -> None:
    bound = (a_node("n1"), a_service(), a_task(1, bound_to=("n2",)))

    assert placed(a_cluster(bound, a_node("n2"))) == {"web.1": "n2"}
    assert (
        "not n2, where the task belongs (n1)"
        in placed(a_cluster(bound, a_node("n2", cordoned=True)))["web.1"]
    )


def test_nothing_stable_goes_to_a_canary_node_and_no_canary_elsewhere() -> None:
    canary = stable(target=2, phase=Phase.CANARY, nodes=("n2",), slots=(1,))
    both = [a_service(replicas=2), a_service(replicas=2, revision=2)]
    tasks = [a_task(1, 2, revision=2, bound_to=("n2",)), a_task(2)]
    cluster = a_cluster(a_node("n1", cpu=100), a_node("n2"), both, canary, tasks)

    assert placed(cluster) == {"web.1": "n2", "web.2": "n1"}


def test_a_score_says_what_the_node_won_by() -> None:
    cluster = a_cluster(
        a_node("n1", labels={"zone": "a"}), a_service(template=a_placement(spread=("zone",))), a_task(1)
    )

    (answer,) = place.place_service(cluster, WEB)

    assert isinstance(answer, change.AssignTask)
    assert answer.score == '{"of": 1, "zone": ["a", 0], "tasks": 0, "allocated": 0.000}'


def test_the_score_table_has_every_candidate_best_first() -> None:
    cluster = a_cluster(a_node("n1"), a_node("n2"), a_service(), a_task(2, node="n1"), a_task(1))
    task = cluster.task(TaskId("default", "web", 1, 1, 1))
    assert task is not None

    assert [name for name, _ in explain.scores(cluster, task)] == ["n2", "n1"]


def test_a_placed_task_is_weighed_as_if_it_were_not_there() -> None:
    cluster = a_cluster(
        a_node("n1"), a_node("n2"), a_node("n3", drained=True), a_service(), a_task(1, node="n1")
    )
    task = cluster.task(TaskId("default", "web", 1, 1, 1))
    assert task is not None

    table, refused = explain.scores_without(cluster, task)

    assert [(name, best.tasks) for name, best in table] == [("n1", 0), ("n2", 0)]
    assert [each.nodes for each in refused] == [("n3",)]


ROOMS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from("ab")), min_size=1, max_size=6
)
ASKED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(rooms=ROOMS, asked=ASKED, most=st.integers(0, 2), spread=st.booleans())
def test_capacity_is_never_negative_and_whoever_waits_fits_nowhere(rooms, asked, most, spread) -> None:
    placement = PlacementSpec(max_per_node=most, spread=("zone",) if spread else ())
    parts: list = [
        a_node(f"n{i}", cpu=cpu * 1000, memory=memory * MEBIBYTE, labels={"zone": zone})
        for i, (cpu, memory, zone) in enumerate(rooms, 1)
    ]
    for number, (cpu, memory, replicas) in enumerate(asked):
        template = a_template(cpu=cpu * 1000, memory=memory * MEBIBYTE, placement=placement)
        parts.append(a_service(f"s{number}", replicas=replicas, template=template, priority=number % 2))
        parts += [a_task(slot, service=f"s{number}") for slot in range(1, replicas + 1)]
    cluster = a_cluster(parts)

    answers = place.place_all(cluster)
    then = after(cluster, answers, 0.0)

    assert len(answers) == sum(replicas for _, _, replicas in asked)
    for name, node in then.nodes.items():
        assert then.allocated_on(name).fits_in(node.capacity)
    assert not [each for each in place.place_all(then) if isinstance(each, change.AssignTask)]
    if most:
        crowds = Counter((task.node, task.id.service) for task in then.all_tasks() if task.node)
        assert max(crowds.values(), default=0) <= most
