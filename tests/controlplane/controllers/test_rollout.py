"""One revision replaces another: as plays, each with what a user would see at its end."""

from dataclasses import replace

import pytest

from controlplane.cluster import change, editing
from orch.model.names import TaskId
from orch.model.node import Taint
from orch.model.policy import CanaryStep
from orch.model.rollout import Outcome, Phase
from orch.model.service import ALL_STEPS, RolloutOrders
from orch.model.task import TaskState
from tests.controlplane.controllers.world import World
from tests.support.builders import WEB, a_cluster, a_node, a_service, a_template, with_part


def a_world(*nodes: tuple, **service: object) -> World:
    """Three nodes and a service at revision 1, healthy everywhere."""
    nodes = nodes or tuple(a_node(f"n{i}") for i in (1, 2, 3))
    world = World(a_cluster(*nodes, a_service(**{"replicas": 3, **service})))
    world.settle()
    return world


def apply(world: World, revision: int, **service: object) -> None:
    """A new template, under the next revision."""
    for part in a_service(**{"replicas": 3, "revision": revision, **service}):
        world.cluster = with_part(world.cluster, part)


def order(world: World, **orders: object) -> None:
    service = world.cluster.services[WEB]
    world.cluster = editing.with_service(
        world.cluster, replace(service, orders=replace(service.orders, **orders))
    )


def rollout(world: World):
    return world.cluster.rollouts[WEB]


def broken(revision: int, how: TaskState | None = TaskState.FAILED):
    return lambda task: how if task.revision == revision else TaskState.RUNNING


def outcomes(world: World) -> list[tuple[int, Outcome]]:
    return [(each.revision, each.outcome) for each in rollout(world).outcomes]


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


# ── canary ───────────────────────────────────────────────────────────────────────────────────────────────


RING = {"ring": "canary"}
FOUR = (a_node("n1"), a_node("n2", labels=RING), a_node("n3"), a_node("n4", labels=RING))


def until(world: World, verdict: str) -> None:
    """On to the first look that ends with such a verdict."""
    for _ in range(200):
        changes = world.decide()
        if rollout(world).verdict.startswith(verdict):
            return
        if not world.act():
            wakes = [each.instant for each in changes if isinstance(each, change.WakeAt)]
            if wakes:
                world.now = min(wakes)
    raise AssertionError(f"never {verdict!r}: {rollout(world)}")


def test_a_revision_whose_steps_were_all_let_pass_at_once_has_no_canary() -> None:
    world = a_world(*FOUR, replicas=4)
    orders = RolloutOrders(promoted_revision=2, promoted_steps=ALL_STEPS)
    apply(world, 2, replicas=4, canary=[CanaryStep(match_labels=RING, bake=60)], orders=orders)

    told = [each.reason for each in world.decide() if isinstance(each, change.Tell)]

    assert (rollout(world).phase, told) == (Phase.ROLLING, ["RolloutStarted"])
    world.settle()
    assert set(map(tuple, world.revisions_by_node().values())) == {(2,)}


def test_a_canary_by_labels_runs_on_exactly_the_labelled_nodes() -> None:
    world = a_world(*FOUR, replicas=4)
    apply(world, 2, replicas=4, canary=[CanaryStep(match_labels=RING, bake=60)])

    until(world, "healthy; baking")

    assert world.revisions_by_node() == {"n1": [1], "n2": [2], "n3": [1], "n4": [2]}
    world.settle()
    assert set(map(tuple, world.revisions_by_node().values())) == {(2,)}


def test_a_listed_node_without_an_instance_borrows_a_slot() -> None:
    world = a_world(*FOUR, replicas=2, template=a_template(image="web:1"))
    empty = next(name for name in ("n1", "n2", "n3", "n4") if name not in world.revisions_by_node())
    apply(world, 2, replicas=2, canary=[CanaryStep(nodes=(empty,), bake=60)])

    until(world, "healthy; baking")

    assert world.revisions_by_node()[empty] == [2]
    assert sorted(r for rs in world.revisions_by_node().values() for r in rs) == [1, 2]


def test_every_instance_of_a_listed_node_is_a_canary() -> None:
    world = a_world(a_node("n1"), a_node("n2"), replicas=4)
    apply(world, 2, replicas=4, canary=[CanaryStep(nodes=("n2",), bake=60)])

    until(world, "healthy; baking")

    assert world.revisions_by_node() == {"n1": [1, 1], "n2": [2, 2]}


def test_a_canary_by_percent_and_then_more_keeps_what_it_began_with() -> None:
    world = a_world(replicas=10)
    apply(world, 2, replicas=10, canary=[CanaryStep(percent=10, bake=60), CanaryStep(percent=50, bake=60)])

    until(world, "healthy; baking")
    assert rollout(world).slots == (1,)
    world.now += 60
    world.decide()
    until(world, "healthy; baking")
    assert rollout(world).slots == (1, 2, 3, 4, 5)
    assert sorted(r for rs in world.revisions_by_node().values() for r in rs) == [1] * 5 + [2] * 5


def test_a_manual_canary_waits_for_the_user() -> None:
    world = a_world(*FOUR, replicas=4)
    apply(world, 2, replicas=4, canary=[CanaryStep(nodes=("n1",), bake=5)], promote="manual")

    world.settle()
    assert rollout(world).verdict == "healthy; waiting for `orchctl rollout promote`"
    assert world.revisions_by_node() == {"n1": [2], "n2": [1], "n3": [1], "n4": [1]}

    order(world, promoted_revision=2, promoted_steps=-1)
    world.settle()
    assert set(map(tuple, world.revisions_by_node().values())) == {(2,)}


def test_a_broken_canary_goes_back_and_touches_nothing_else() -> None:
    world = a_world(*FOUR, replicas=4)
    world.behaves = broken(2)
    elsewhere = {task.id for task in world.cluster.tasks_of(WEB) if task.node in {"n1", "n3"}}
    apply(world, 2, replicas=4, canary=[CanaryStep(match_labels=RING, bake=60)])

    world.settle()

    assert world.revisions_by_node() == {"n1": [1], "n2": [1], "n3": [1], "n4": [1]}
    assert elsewhere <= {task.id for task in world.cluster.tasks_of(WEB) if world.cluster.is_live(task)}


def test_the_slot_of_a_dead_canary_node_goes_back_to_stable_elsewhere_and_the_canary_holds() -> None:
    world = a_world(*FOUR, replicas=4)
    apply(world, 2, replicas=4, canary=[CanaryStep(match_labels=RING, bake=60)])
    until(world, "healthy; baking")

    world.set_node("n4", down=True)
    world.settle()

    assert rollout(world).verdict == "inconclusive: n4 cannot run it now"
    alive = {node: revisions for node, revisions in world.revisions_by_node().items() if node != "n4"}
    assert alive["n2"] == [2]
    assert sorted(alive["n1"] + alive["n3"]) == [1, 1, 1]

    world.set_node("n4", down=False)
    world.settle()
    assert sorted(r for rs in world.revisions_by_node().values() for r in rs) == [2] * 4


def test_a_canary_that_holds_is_saved_once_and_its_deadline_begins_anew_after_the_hold() -> None:
    world = a_world(*FOUR, replicas=4)
    world.behaves = lambda task: None if task.revision == 2 else TaskState.RUNNING
    apply(world, 2, replicas=4, canary=[CanaryStep(match_labels=RING, bake=60)], progress_deadline=100)
    world.decide()
    world.act()
    world.set_node("n4", down=True)
    world.decide()
    held = rollout(world)
    for _ in range(5):
        world.now += 50
        world.decide()
    assert rollout(world) == held, "what is saved wakes the next look: it would never end"

    world.set_node("n4", down=False)
    world.decide()
    assert rollout(world).verdict.endswith("ready")
    assert rollout(world).progressed_at == world.now


def test_a_new_apply_during_a_canary_starts_over_from_stable() -> None:
    world = a_world(*FOUR, replicas=4)
    apply(world, 2, replicas=4, canary=[CanaryStep(nodes=("n1",), bake=60)])
    until(world, "healthy; baking")
    apply(world, 3, replicas=4, canary=[CanaryStep(nodes=("n2",), bake=60)])

    until(world, "healthy; baking")

    assert world.revisions_by_node() == {"n1": [1], "n2": [3], "n3": [1], "n4": [1]}
    assert (2, Outcome.SUPERSEDED) in outcomes(world)


def test_a_canary_whose_label_nobody_has_holds_and_says_so() -> None:
    world = a_world()
    apply(world, 2, canary=[CanaryStep(match_labels={"ring": "typo"})])

    world.settle()

    assert rollout(world).verdict == "inconclusive: no node is labelled ring=typo"
    assert world.revisions_by_node() == {"n1": [1], "n2": [1], "n3": [1]}


def test_a_canary_of_a_service_with_a_published_port_exchanges_in_place() -> None:
    policy = {"max_surge": "1", "max_unavailable": "1"}
    world = a_world(template=a_template(published=80), **policy)
    apply(
        world,
        2,
        template=a_template(image="web:2", published=80),
        canary=[CanaryStep(nodes=("n2",), bake=60)],
        **policy,
    )

    until(world, "healthy; baking")

    assert world.revisions_by_node() == {"n1": [1], "n2": [2], "n3": [1]}


# ── global ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_global_service_has_one_on_each_eligible_node() -> None:
    tainted = a_node("n3", taints=[Taint("gpu")])
    world = a_world(a_node("n1"), a_node("n2"), tainted, a_node("n4", down=True), is_global=True)

    assert world.revisions_by_node() == {"n1": [1], "n2": [1]}


def test_a_global_service_rolls_one_node_after_the_other_and_leaves_a_down_node_out() -> None:
    world = a_world(is_global=True, min_ready=5)
    world.set_node("n3", down=True)
    apply(world, 2, is_global=True, min_ready=5)

    world.settle()
    assert world.revisions_by_node() == {"n1": [2], "n2": [2], "n3": [1]}
    assert rollout(world).phase is Phase.DONE

    world.set_node("n3", down=False)
    world.settle()
    assert world.revisions_by_node() == {"n1": [2], "n2": [2], "n3": [2]}


def test_a_global_rollout_leaves_what_a_cordoned_node_has_alone_until_it_takes_new_tasks() -> None:
    world = a_world(is_global=True)
    world.cluster = with_part(world.cluster, a_node("n2", cordoned=True)[0])
    apply(world, 2, is_global=True)

    world.settle()
    assert world.revisions_by_node() == {"n1": [2], "n2": [1], "n3": [2]}
    assert rollout(world).phase is Phase.DONE

    world.cluster = with_part(world.cluster, a_node("n2")[0])
    world.settle()
    assert world.revisions_by_node() == {"n1": [2], "n2": [2], "n3": [2]}


def test_a_global_canary_names_its_nodes() -> None:
    world = a_world(is_global=True)
    apply(world, 2, is_global=True, canary=[CanaryStep(nodes=("n2",), bake=60)])

    until(world, "healthy; baking")

    assert world.revisions_by_node() == {"n1": [1], "n2": [2], "n3": [1]}
