"""Plays: `plays/*.txt` is what happens, `expected/*.txt` what comes of it. Compared letter by letter.

ORCH_RECORD_PLAYS=1 pytest tests/simulation/test_stories.py      writes what is expected anew
"""

import difflib
import os
from pathlib import Path

import pytest

from tests.simulation import virtual_time
from tests.simulation.law import Law
from tests.simulation.script import Stage
from tests.simulation.story import Story
from tests.simulation.world import a_world

HERE = Path(__file__).parent
PLAYS = sorted((HERE / "plays").glob("*.txt"))


async def perform(text: str) -> str:
    """The story of a play. Raises law.Broken."""
    async with a_world() as world:
        law, story = Law.over(world), Story.of(world)
        await Stage(world, story).play(text)
        law.check()
        return story.text()


async def conflicts_in(text: str) -> int:
    """Decisions that were in vain."""
    async with a_world() as world:
        await Stage(world, Story.of(world)).play(text)
        leader = world.leader()
        assert leader is not None
        return leader.core.driver.figures.conflicts


def test_without_faults_no_decision_is_in_vain() -> None:
    assert virtual_time.run(conflicts_in((HERE / "plays" / "rolling-update.txt").read_text())) == 0


@pytest.mark.parametrize("play", PLAYS, ids=lambda path: path.stem)
def test_a_play_goes_as_it_always_did(play: Path) -> None:
    expected = HERE / "expected" / play.name
    told = virtual_time.run(perform(play.read_text()))
    if os.environ.get("ORCH_RECORD_PLAYS"):
        expected.write_text(told)
    known = expected.read_text() if expected.exists() else ""
    difference = difflib.unified_diff(known.splitlines(), told.splitlines(), "expected", "told", lineterm="")
    assert told == known, "\n".join(difference)
