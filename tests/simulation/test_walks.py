"""Random walks: any instructions in any order, any faults; the law holds all the while, and what was asked for
is there in the end. A walk that fails is printed as a play: `python -m tests.simulation.tell FILE` tells its story.

    ORCH_WALKS=2000 pytest tests/simulation/test_walks.py --timeout 3600      other walks, and more of them
    ORCH_SHRINK=1 …                                                           look for a shorter one that fails, too
"""

import logging
import os

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.simulation import virtual_time
from tests.simulation.law import Law, unmet
from tests.simulation.script import Stage
from tests.simulation.story import Story
from tests.simulation.world import a_world

NODES = ("n1", "n2", "n3", "n4")
BEGIN = """
start control plane
nodes n1 n2[ring=canary] n3 n4(cpu=1000)
apply web replicas=6 image=web:1 deadline=15s
apply db replicas=1 image=web:1 deadline=15s onNodeLoss=stopAfter:5s grace=2s cpu=600m
apply agent mode=global image=web:1 port=8080
after 2s
"""
IMAGES = ("web:1", "web:2", "web:3", "web:4")

names = st.sampled_from(("web", "db", "agent"))
tasks = st.sampled_from(("web.1", "web.2", "web.3", "agent.1", "db.1"))
nodes = st.sampled_from(NODES)
pauses = st.sampled_from(("1ms", "3ms", "300ms", "1s", "3s", "9s", "30s"))


@st.composite
def applies(draw: st.DrawFn) -> str:
    """Of three services, each of its own kind."""
    image = draw(st.sampled_from(IMAGES))
    match draw(names):
        case "web":
            canary = draw(
                st.sampled_from(
                    (
                        "",
                        "canary=ring:canary bake=3s",
                        "canary=count:1 bake=1s",
                        "canary=nodes:n1 promote=manual bake=1s",
                    )
                )
            )
            bounds = draw(st.sampled_from(("", "surge=2", "surge=0 unavailable=2", "surge=1 unavailable=1")))
            ready = draw(st.sampled_from(("", "minReady=1s")))
            return f"apply web replicas={draw(st.integers(2, 6))} image={image} deadline=15s {bounds} {canary} {ready}"
        case "db":
            few = draw(st.integers(1, 2))
            once = "onNodeLoss=stopAfter:5s grace=2s cpu=600m"
            return f"apply db replicas={few} image={image} deadline=15s {once}"
        case _:
            loss = draw(st.sampled_from(("replace", "wait")))
            return f"apply agent mode=global image={image} port=8080 onNodeLoss={loss} deadline=15s"


def one_of(*lines: str) -> st.SearchStrategy[str]:
    """Words of these lines, with the blanks filled in."""
    blanks = st.fixed_dictionaries(
        {
            "few": st.integers(0, 7),
            "name": names,
            "node": nodes,
            "image": st.sampled_from(IMAGES),
            "task": tasks,
        }
    )
    return st.builds(lambda line, known: line.format(**known), st.sampled_from(lines), blanks)


ORDERS = one_of(
    "scale web {few}", "scale db {few}", "delete {name}", "promote web", "promote web fully", "abort {name}",
    "pause {name}", "resume {name}", "undo {name}",
)  # fmt: skip
AVAILABILITY = one_of(
    "cordon {node}", "uncordon {node}", "drain {node}", "drain {node}", "uncordon {node}",
    "label {node} ring=canary", "label {node} ring=none",
)  # fmt: skip
NODES_FAIL = one_of(
    "kill node {node}", "cut node {node}", "return node {node}", "return node {node}", "restart agent {node}",
    "empty node {node}", "remove {node}", "crash task {task}",
)  # fmt: skip
IMAGES_FAIL = one_of(
    "image {image} crashes", "image {image} is never ready", "image {image} is missing", "image {image} is well",
    "image {image} stops in 3s", "image {image} ends after 2s", "image {image} is ready after 2s",
)  # fmt: skip
CONTROL_FAILS = one_of(
    "kill control plane", "start control plane", "start control plane", "kill control plane after 2 commits",
    "kill control plane after 5 commits", "leader loses the store", "watch of cp2 stands still",
    "store goes away", "store comes back", "store is well", "store loses next answer", "store loses next request",
    "store refuses 2 commits", "next commit lands 10s late", "next commit lands 2s late",
    "drop next event of tasks", "drop next event of services", "drop next event of nodes",
    "watch stands still", "watch goes on", "compact store",
)  # fmt: skip


@st.composite
def instructions(draw: st.DrawFn) -> str:
    """One line, and the time after it."""
    line = draw(st.one_of(applies(), applies(), ORDERS, AVAILABILITY, NODES_FAIL, IMAGES_FAIL, CONTROL_FAILS))
    return f"{line}\nafter {draw(pauses)}"


END = "\n".join(
    [
        *(f"image {image} is well" for image in IMAGES),
        "nobody dies",
        "store is well",
        "watch goes on",
        "start control plane",
        "until somebody leads",
        *(f"return node {name}" for name in NODES),
        "after 3s",
        *(f"uncordon {name}" for name in NODES),
        "resume web",
        "resume db",
        "resume agent",
        "apply web replicas=3 image=web:9",
        "apply db replicas=1 image=web:9 onNodeLoss=stopAfter:5s grace=2s",
        "apply agent mode=global image=web:9 port=8080",
        "after 75s",
        "until quiet",
    ]
)


async def walk(lines: list[str]) -> tuple[str, list[str]]:
    """The story, and what was asked for and is not there. Raises law.Broken."""
    async with a_world() as world:
        law, story = Law.over(world), Story.of(world)
        stage = Stage(world, story)
        await stage.play(BEGIN)
        for line in "\n".join([*lines, END]).splitlines():
            await stage.play(line)
            law.check()
        return story.text(), unmet(world)


@settings(
    max_examples=int(os.environ.get("ORCH_WALKS", "32")),
    derandomize="ORCH_WALKS" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, *([Phase.shrink] if "ORCH_SHRINK" in os.environ else [])],
    report_multiple_bugs=False,
)
@given(st.lists(instructions(), min_size=5, max_size=15))
def test_whatever_happens_the_law_holds_and_what_was_asked_for_is_there_in_the_end(lines: list[str]) -> None:
    logging.disable(logging.ERROR)
    note("\n".join([BEGIN.strip(), *lines, END]))
    _, missing = virtual_time.run(walk(lines))
    assert not missing, "\n".join(missing)
