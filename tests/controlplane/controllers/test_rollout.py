"""One revision replaces another: as plays, each with what a user would see at its end."""

from dataclasses import replace

import pytest

from controlplane.cluster import change, editing
from orch.model.names import TaskId
from orch.model.rollout import Outcome, Phase
from orch.model.service import RolloutOrders
from orch.model.task import TaskState
from tests.controlplane.controllers.plays import a_world, apply, broken, order, outcomes, rollout
from tests.controlplane.controllers.world import World
from tests.support.builders import a_cluster, a_node, a_service


def test_a_first_deployment_makes_its_revision_the_stable_one() -> None:
    world = a_world()

    assert world.revisions_by_node() == {"n1": [1], "n2": [1], "n3": [1]}
    assert (rollout(world).stable, rollout(world).phase) == (1, Phase.DONE)


def test_a_first_deployment_that_fails_pauses_and_says_why() -> None:
    world = World(a_cluster(a_node("n1"), a_service()), behaves=broken(1, None))

    world.settle()

    assert rollout(world).phase is Phase.PAUSED
    assert rollout(world).verdict == "failed: no progress for 300s; web.1.1 is running: not ready"


def test_a_first_deployment_that_got_well_after_its_deadline_has_succeeded() -> None:
    world = World(a_cluster(a_node("n1"), a_service()), behaves=broken(1, None))
    world.settle()
    world.behaves = lambda _: TaskState.RUNNING

    world.settle()

    assert (rollout(world).phase, rollout(world).stable) == (Phase.DONE, 1)


def test_a_rolling_update_ends_with_the_new_revision_everywhere() -> None:
    world = a_world(min_ready=10)
    apply(world, 2, min_ready=10)

    world.settle()

    assert world.revisions_by_node() == {"n1": [2], "n2": [2], "n3": [2]}
    assert outcomes(world) == [(1, Outcome.SUCCEEDED), (2, Outcome.SUCCEEDED)]


@pytest.mark.parametrize(
    ("surge", "unavailable"), [("1", "0"), ("0", "1"), ("2", "1"), ("100%", "0"), ("0", "0")]
)
def test_any_surge_and_floor_get_there(surge: str, unavailable: str) -> None:
    policy = {"replicas": 5, "max_surge": surge, "max_unavailable": unavailable, "min_ready": 5}
    world = a_world(**policy)
    apply(world, 2, **policy)

    world.settle()

    assert sorted(r for rs in world.revisions_by_node().values() for r in rs) == [2] * 5


@pytest.mark.parametrize("how", [TaskState.FAILED, TaskState.REJECTED, None])
def test_a_broken_revision_rolls_back_and_says_why(how: TaskState | None) -> None:
    world = a_world()
    world.behaves = broken(2, how)
    apply(world, 2)

    world.settle()

    assert world.revisions_by_node() == {"n1": [1], "n2": [1], "n3": [1]}
    assert (rollout(world).phase, rollout(world).stable, rollout(world).target) == (Phase.DONE, 1, 1)
    assert outcomes(world)[-1] == (2, Outcome.FAILED)
    assert "web.1.2 is" in rollout(world).verdict
    assert any(isinstance(each, change.Tell) and each.reason == "RolledBack" for each in world.told)


def test_a_broken_revision_pauses_where_the_policy_says_so() -> None:
    world = a_world(on_failure="pause")
    world.behaves = broken(2, None)
    apply(world, 2, on_failure="pause")

    world.settle()
    assert rollout(world).phase is Phase.PAUSED
    assert sorted(r for rs in world.revisions_by_node().values() for r in rs) == [1, 1, 1, 2]

    order(world, aborted_revision=2)
    world.settle()
    assert rollout(world).phase is Phase.DONE
    assert world.revisions_by_node() == {"n1": [1], "n2": [1], "n3": [1]}


def test_a_rollback_that_fails_pauses_and_never_loops() -> None:
    world = a_world(max_surge="0", max_unavailable="1")
    world.behaves = lambda _: None
    world.cluster = editing.with_status(
        world.cluster,
        replace(
            world.cluster.statuses[TaskId("default", "web", 1, 1, 1)], state=TaskState.FAILED, ready=False
        ),
    )
    apply(world, 2, max_surge="0", max_unavailable="1")

    world.settle()

    assert rollout(world).phase is Phase.PAUSED
    assert rollout(world).verdict.startswith("rollback failed")


def test_a_revision_that_was_given_up_is_not_tried_again_but_a_new_one_is() -> None:
    world = a_world()
    world.behaves = broken(2)
    apply(world, 2)
    world.settle()
    created = len(world.used)

    world.settle()
    assert len(world.used) == created

    apply(world, 3)
    world.settle()
    assert world.revisions_by_node() == {"n1": [3], "n2": [3], "n3": [3]}


def test_a_paused_rollout_stands_still_until_it_is_resumed() -> None:
    world = a_world()
    apply(world, 2, orders=RolloutOrders(paused=True))

    world.settle()
    assert world.revisions_by_node() == {"n1": [1], "n2": [1], "n3": [1]}

    order(world, paused=False)
    world.settle()
    assert world.revisions_by_node() == {"n1": [2], "n2": [2], "n3": [2]}


def test_what_is_applied_while_paused_waits_and_the_first_look_moves_nothing() -> None:
    world = a_world()
    order(world, paused=True)
    world.settle()
    assert rollout(world).phase is Phase.DONE
    apply(world, 2, orders=RolloutOrders(paused=True))
    world.settle()
    assert world.revisions_by_node() == {"n1": [1], "n2": [1], "n3": [1]}
    assert rollout(world).phase is Phase.PAUSED
