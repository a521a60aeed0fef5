"""A new revision runs on some nodes first: which, for how long, and what becomes of it."""

from controlplane.cluster import change
from orch.model.policy import CanaryStep
from orch.model.rollout import Outcome, Phase
from orch.model.service import ALL_STEPS, RolloutOrders
from orch.model.task import TaskState
from tests.controlplane.controllers.plays import a_world, apply, broken, order, outcomes, rollout, until
from tests.support.builders import WEB, a_node, a_template

RING = {"ring": "canary"}
FOUR = (a_node("n1"), a_node("n2", labels=RING), a_node("n3"), a_node("n4", labels=RING))


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
