"""The leader dies after each of its commits in turn: every prefix of what it writes is a legal cluster, another
control plane goes on from there, and it ends as if nobody had died.
"""

import logging

import pytest

from controlplane.cluster.snapshot import Cluster
from tests.simulation import virtual_time
from tests.simulation.law import Law, unmet
from tests.simulation.script import Stage
from tests.simulation.story import Story
from tests.simulation.world import a_world

BEGIN = "start control plane\nnodes n1 n2[ring=canary] n3\nstart control plane\nafter 1s\n"
RUNNING = BEGIN + "apply web replicas=3 image=web:1\nuntil web is done\n"
END = "after 12s\nuntil quiet\n"

DEEDS = {
    "apply more than a transaction holds": (BEGIN, "apply web replicas=150 image=web:1", 4),
    "roll": (RUNNING, "apply web replicas=4 image=web:2", 2),
    "roll two at a time": (RUNNING, "apply web replicas=4 image=web:2 surge=1 unavailable=1", 2),
    "canary": (RUNNING, "apply web replicas=3 image=web:2 canary=ring:canary bake=1s", 2),
    "replace what must exist once": (
        BEGIN + "apply web onNodeLoss=stopAfter:2s\nuntil web is done\n",
        "drain n1",
        1,
    ),
    "drain": (RUNNING, "drain n1", 1),
    "scale to none and up": (RUNNING, "scale web 0\nafter 50ms\nscale web 3", 1),
    "delete and apply again": (RUNNING, "delete web\nafter 100ms\napply web replicas=2 image=web:1", 1),
    "lose a node": (RUNNING, "kill node n2\nuntil node n2 is down", 1),
    "one on each node with a port": (
        BEGIN,
        "apply web mode=global port=80\nafter 400ms\napply web mode=global port=80 image=web:2",
        2,
    ),
}


async def perform(begin: str, deed: str, crash_after: int | None) -> tuple[Cluster, int]:
    """How it ended, and how many commits there were. Raises law.Broken."""
    async with a_world() as world:
        law = Law.over(world)
        stage = Stage(world, Story.of(world))
        await stage.play(begin)
        before = world.commits
        world.crash_after_commits = crash_after
        await stage.play(deed)
        await stage.play(END)
        law.check()
        missing = unmet(world)
        assert not missing, f"dead after commit {crash_after}: {missing}"
        return world.truth.cluster, world.commits - before


def outcome(cluster: Cluster) -> list[tuple[str, int, int]]:
    """What runs, without saying which attempt or where."""
    return sorted(
        (str(task.id.owner), task.id.slot, task.revision)
        for task in cluster.all_tasks()
        if cluster.is_live(task)
    )


@pytest.mark.parametrize("name", DEEDS)
def test_a_leader_may_die_after_any_of_its_commits(name: str) -> None:
    logging.disable(logging.ERROR)
    begin, deed, stride = DEEDS[name]
    undisturbed, commits = virtual_time.run(perform(begin, deed, None))
    for crash_after in range(1, commits + 1, stride):
        disturbed, _ = virtual_time.run(perform(begin, deed, crash_after))
        assert outcome(disturbed) == outcome(undisturbed), f"dead after commit {crash_after} of {commits}"
