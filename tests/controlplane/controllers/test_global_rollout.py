"""One revision of a global service replaces another, node by node."""

from orch.model.node import Taint
from orch.model.policy import CanaryStep
from orch.model.rollout import Phase
from tests.controlplane.controllers.plays import a_world, apply, rollout, until
from tests.support.builders import a_node, with_part


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
