"""Random walks: any instructions in any order, any faults; the law holds all the while, and what was asked for
is there in the end. A walk that fails is printed as a play: `python -m tests.simulation.tell FILE` tells its story.

    ORCH_WALKS=2000 pytest tests/simulation/test_walks.py --timeout 3600      other walks, and more of them
"""

import logging
import os

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.simulation import virtual_time
from tests.simulation.law import Law, unmet
from tests.simulation.script import NotUnderstood, Stage
from tests.simulation.story import Story
from tests.simulation.world import a_world

NODES = ("n1", "n2", "n3", "n4")
BEGIN = """
start control plane
nodes n1 n2[ring=canary] n3 n4(cpu=1000)
"""
IMAGES = ("web:1", "web:2", "web:3", "web:4")

names = st.sampled_from(("web", "db", "agent"))
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


words = st.sampled_from(
    (
        "scale web {few}", "scale db {few}", "delete {name}", "promote web", "promote web fully", "abort {name}",
        "pause {name}", "resume {name}", "undo {name}",
        "cordon {node}", "uncordon {node}", "drain {node}", "label {node} ring=canary", "label {node} ring=none",
        "remove {node}", "kill node {node}", "cut node {node}", "return node {node}", "restart agent {node}",
        "crash task web.1", "crash task web.2", "crash task agent.1",
        "image {image} crashes", "image {image} is never ready", "image {image} is missing", "image {image} is well",
        "image {image} stops in 3s", "image {image} ends after 2s",
        "kill control plane", "start control plane", "kill control plane after 2 commits",
        "kill control plane after 5 commits",
        "store goes away", "store comes back", "store loses next answer", "store loses next request",
        "store refuses 2 commits", "next commit lands 10s late", "next commit lands 2s late", "leader loses the store",
        "drop next event of tasks", "drop next event of services",
        "drop next event of nodes", "watch stands still", "watch goes on", "compact store",
    )
)  # fmt: skip


@st.composite
def instructions(draw: st.DrawFn) -> str:
    """One line, now and then with time after it."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(applies())
    if kind == 1:
        return f"after {draw(pauses)}"
    return draw(words).format(
        few=draw(st.integers(0, 5)), name=draw(names), node=draw(nodes), image=draw(st.sampled_from(IMAGES))
    )


END = "\n".join(
    [
        *(f"image {image} is well" for image in IMAGES),
        "store is well",
        "watch goes on",
        "start control plane",
        "until somebody leads",
        *(f"return node {name}" for name in NODES),
        "until nodes are ready",
        *(f"uncordon {name}" for name in NODES),
        "resume web",
        "resume db",
        "resume agent",
        "apply web replicas=3 image=web:9",
        "apply db replicas=1 image=web:9 onNodeLoss=stopAfter:5s grace=2s",
        "apply agent mode=global image=web:9 port=8080",
        "after 100s",
        "until quiet",
    ]
)


async def walk(lines: list[str]) -> tuple[str, list[str]]:
    """The story, and what was asked for and is not there. Raises law.Broken."""
    async with a_world() as world:
        law, story = Law.over(world), Story.of(world)
        stage = Stage(world, story)
        await stage.play(BEGIN)
        for line in [*lines, *END.splitlines()]:
            try:
                await stage.play(line)
            except NotUnderstood:  # nobody leads, the node has been removed: nothing to be done now
                story.tell("not", "possible now")
            law.check()
        return story.text(), unmet(world)


@settings(
    max_examples=int(os.environ.get("ORCH_WALKS", "80")),
    derandomize="ORCH_WALKS" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(instructions(), min_size=4, max_size=30))
def test_whatever_happens_the_law_holds_and_what_was_asked_for_is_there_in_the_end(lines: list[str]) -> None:
    logging.disable(logging.ERROR)
    note("\n".join([BEGIN.strip(), *lines, END]))
    _, missing = virtual_time.run(walk(lines))
    assert not missing, "\n".join(missing)
