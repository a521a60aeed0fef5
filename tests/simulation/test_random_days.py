"""Random days of a whole cluster: users, and nodes, leaders and stores that fail."""

import asyncio
import random

import pytest

from orch.model.node import Availability
from tests.simulation import virtual
from tests.simulation.stage import Stage, a_stage

NODES = ("n1", "n2", "n3", "n4")
EVENTS = 15


@pytest.mark.parametrize("seed", range(12))
def test_after_the_last_fault_the_cluster_reaches_what_was_asked(seed: int) -> None:
    virtual.run(_day(random.Random(seed)))


async def _day(chance: random.Random) -> None:
    async with a_stage(NODES) as stage:
        await stage.apply("web:1", replicas=4)
        for _ in range(EVENTS):
            await _something(stage, chance)
            await asyncio.sleep(chance.choice([0.05, 0.3, 2.0, 8.0]))
        for name in NODES:
            stage.nodes[name].mend()
        while len(stage.control_planes) < 2:
            await stage.start_another()
        await stage.wait(20)
        for name in NODES:
            await stage.node(name, availability=Availability.ACTIVE)
        await stage.apply("web:last", replicas=5)
        await stage.wait_quiet()

        assert stage.look().startswith(
            f"web: done, stable {stage.revision}, target {stage.revision}: healthy"
        )
        assert stage.look().count(f"rev {stage.revision} running ready") == 5
        assert len(stage.look().splitlines()) == 6
        running = {task for node in stage.nodes.values() for task in node.statuses}
        assert running <= {task.id for task in stage.cluster.all_tasks()}, "a node runs what nobody knows"


async def _something(stage: Stage, chance: random.Random) -> None:
    node = chance.choice(NODES)
    faults = chance.choice(stage.control_planes).store.faults
    match chance.randrange(9):
        case 0:
            image = chance.choice(["web:2", "web:3", "web:broken", "web:stuck"])
            await stage.apply(image, replicas=chance.randint(1, 6), progress_deadline=20)
        case 1:
            stage.nodes[node].cut()
        case 2:
            stage.nodes[node].mend()
        case 3 if node in stage.cluster.nodes:
            await stage.node(node, availability=chance.choice(list(Availability)))
        case 4:
            faults.lose_answers += 1
        case 5:
            faults.lose_requests += 1
        case 6:
            faults.refuse_commits += 2
        case 7 if len(stage.control_planes) > 1:
            await stage.kill_leader_if_any()
        case _:
            if len(stage.control_planes) < 3:
                await stage.start_another()
