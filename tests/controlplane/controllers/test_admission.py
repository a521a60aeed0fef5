"""What can never work is told when it is applied."""

import pytest

from controlplane.cluster.snapshot import Cluster
from controlplane.controllers.rollout import admission
from orch.model.policy import CanaryStep, PlacementSpec
from tests.support.builders import WEB, a_cluster, a_node, a_service, a_template

THREE = a_cluster(a_node("n1"), a_node("n2"), a_node("n3"))


def problems(cluster: Cluster = THREE, **words: object) -> list[str]:
    service = a_cluster(a_service(**words)).services[WEB]
    return list(admission.problems(cluster, service.spec, service.replicas))


def test_what_works_has_no_problems() -> None:
    assert problems(replicas=3) == []
    assert problems(replicas=2, template=a_template(published=80)) == []
    assert problems(replicas=3, template=a_template(published=80), max_unavailable="1") == []
    assert problems(is_global=True, template=a_template(published=80)) == []
    assert problems(replicas=10, canary=[CanaryStep(percent=10), CanaryStep(count=5)]) == []


def test_nothing_may_move_is_refused() -> None:
    (problem,) = problems(replicas=3, max_surge="0", max_unavailable="0%")
    assert problem == "maxSurge 0 and maxUnavailable 0 let no instance be replaced: allow one of them"


@pytest.mark.parametrize(
    "template", [a_template(published=80), a_template(placement=PlacementSpec(max_per_node=1))]
)
def test_no_room_for_any_successor_is_refused(template: object) -> None:
    (problem,) = problems(replicas=3, template=template)
    assert problem.startswith("maxUnavailable 0 cannot work")
    assert "3 instances fill all 3 nodes" in problem


@pytest.mark.parametrize(
    ("replicas", "step", "problem"),
    [
        (4, CanaryStep(percent=10), "canary step 1: 10% of 4 instances is none; write count: 1"),
        (3, CanaryStep(percent=90), "canary step 1: 90% of 3 instances is all of them; leave the step out"),
        (1, CanaryStep(count=1), "canary step 1: count 1 of 1 instances is all of them; leave the step out"),
    ],
)
def test_a_canary_of_none_or_all_is_refused(replicas: int, step: CanaryStep, problem: str) -> None:
    assert problems(replicas=replicas, canary=[step]) == [problem]
