"""Silent nodes are down, speaking ones are ready."""

from controlplane.cluster import change
from controlplane.controllers.decide import decide_nodes
from orch.model.node import Condition
from tests.support.builders import a_cluster, a_node


def marks(changes: list[change.Change]) -> dict[str, Condition]:
    return {each.name: each.condition for each in changes if isinstance(each, change.MarkNode)}


def wakes(changes: list[change.Change]) -> list[float]:
    return [each.instant for each in changes if isinstance(each, change.WakeAt)]


def test_a_node_that_is_silent_for_too_long_is_down() -> None:
    cluster = a_cluster(a_node("n1"), a_node("n2"))

    changes = decide_nodes(cluster, {"n1": 95.0, "n2": 98.0}, now=100.0, timeout=5.0)

    assert marks(changes) == {"n1": Condition.DOWN}
    assert wakes(changes) == [103.0]


def test_a_node_that_speaks_again_is_ready() -> None:
    changes = decide_nodes(a_cluster(a_node("n1", down=True)), {"n1": 99.0}, now=100.0, timeout=5.0)

    assert marks(changes) == {"n1": Condition.READY}


def test_a_node_of_which_the_leader_knows_nothing_yet_is_not_judged() -> None:
    assert decide_nodes(a_cluster(a_node("n1"), a_node("n2", down=True)), {}, now=100.0) == []


def test_a_node_that_stays_down_is_not_marked_again() -> None:
    assert decide_nodes(a_cluster(a_node("n1", down=True)), {"n1": 1.0}, now=100.0) == []
