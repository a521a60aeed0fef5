"""Perform a play and print its story: `python -m tests.simulation.tell FILE` (from the project's root)."""

import asyncio
import logging
import sys
from pathlib import Path

from tests.simulation import virtual_time
from tests.simulation.law import Law, unmet
from tests.simulation.script import Stage
from tests.simulation.story import Story
from tests.simulation.world import a_world


async def tell(text: str) -> str:
    """The story, what the law says of it, and what is missing in the end."""
    async with a_world() as world:
        law, story = Law.over(world), Story.of(world)
        try:
            await Stage(world, story).play(text)
        except Exception as error:
            story.tell("ERROR", repr(error))
        seconds = asyncio.get_running_loop().time()
        broken = [f"broken   {each}" for each in law.broken]
        missing = [f"missing  {each}" for each in unmet(world)]
        counted = f"{world.commits} commits of control planes in {seconds:.1f}s"
        return "\n".join([story.text(), *broken, *missing, counted])


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    sys.stdout.write(virtual_time.run(tell(Path(sys.argv[1]).read_text())) + "\n")
