"""Tasks, templates and processes for tests with a real agent."""

import asyncio
import itertools
import os
from pathlib import Path
from typing import Any

from orch.model.container import ContainerSpec
from orch.model.names import TaskId
from orch.model.policy import StopPolicy
from orch.model.service import TaskTemplate
from orch.model.task import TaskStatus
from tests.support.scripted import BIRTH

POLITE = "trap 'exit 0' TERM; sleep 1000 & wait"
STOP = StopPolicy(drain_delay=0.0, grace_period=1.0)
"""A shell that is told to end before it has set its trap does not hear it: the grace is short."""
_lives = itertools.count(BIRTH)
_life = BIRTH


def begin_a_life() -> None:
    """Tasks made from now on are none that were there before."""
    global _life  # noqa: PLW0603  one test at a time
    _life = next(_lives)


def a_task(slot: int = 1) -> TaskId:
    return TaskId("default", "web", _life, slot, 1)


def a_container(script: str = POLITE, name: str = "main", **more: Any) -> ContainerSpec:
    return ContainerSpec(name=name, image="busybox:1", entrypoint=("sh", "-c", script), **more)


def a_template(script: str = POLITE, **more: Any) -> TaskTemplate:
    return TaskTemplate(containers=(a_container(script),), **{"stop": STOP, **more})


def main_pid(status: TaskStatus) -> int:
    return status.containers[0].pid


def start_time(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


async def wait_pid_gone(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    done = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, done.set)
    try:
        await asyncio.wait_for(done.wait(), 40)
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
