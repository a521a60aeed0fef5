"""What happens in a play of a rollout: a service is applied, ordered about and broken."""

from dataclasses import replace

from controlplane.cluster import change, editing
from orch.model.rollout import Outcome
from orch.model.task import TaskState
from tests.controlplane.controllers.world import World
from tests.support.builders import WEB, a_cluster, a_node, a_service, with_part


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
