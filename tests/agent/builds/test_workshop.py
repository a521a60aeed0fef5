"""Directories of builds come and go."""

import asyncio
from pathlib import Path

from agent.builds.workshop import Workshop


async def test_other_work_goes_on_while_the_directory_of_a_step_is_removed(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    workshop.open()

    async def step() -> None:
        async with workshop.bench() as bench:
            for number in range(1000):
                (bench / "upper" / str(number)).touch()
            filled.set()

    filled = asyncio.Event()
    working = asyncio.create_task(step())
    await filled.wait()

    assert not working.done()  # it filled and left in one go, unless leaving is given to a thread
    await working
    assert list((tmp_path / "work").iterdir()) == []
