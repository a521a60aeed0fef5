"""The thread on which the workshop works, as the event loop sees it, and one beside it that takes slots away."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar, TypeVarTuple

from agent.network import kernel
from agent.network.addresses import Subnet
from agent.network.attachment import NetworkError
from agent.network.namespaces import Workshop, remove_slots

RESIZED_AT_ONCE = 32

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Workbench:
    """Work is done in the order in which it was asked for; slots are removed beside it. Made by `open`."""

    def __init__(self, thread: ThreadPoolExecutor, workshop: Workshop, folder: Path) -> None:
        """`thread` is the single one that made the workshop."""
        self._thread = thread
        self._folder = folder
        self._removing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="orch-netns-end")
        self.workshop = workshop

    @classmethod
    async def open(cls, folder: Path, subnets: Sequence[Subnet]) -> Self:
        """In the calling thread's network namespace, which new threads inherit."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="orch-netns")
        workshop = await asyncio.get_running_loop().run_in_executor(thread, Workshop, folder, subnets)
        return cls(thread, workshop, folder)

    async def do(self, work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """The kernel's refusal becomes a NetworkError."""
        return await _on(self._thread, work, *arguments)

    async def remove(self, names: Sequence[str]) -> None:
        """These slots. Whoever has others made meanwhile does not wait for it."""
        await _on(self._removing, self._remove, names)

    async def resize(self, mtu: int) -> None:
        """Bridge and slots; a thousand tasks are changed in turns, between which others get theirs."""
        names = await self.do(self.workshop.begin_resize, mtu)
        for first in range(0, len(names), RESIZED_AT_ONCE):
            await self.do(self.workshop.resize, names[first : first + RESIZED_AT_ONCE], mtu)

    async def close(self) -> None:
        """After the work that was asked for; everything made stays."""
        await self.do(self.workshop.close)
        for thread in (self._thread, self._removing):
            thread.shutdown()

    def _remove(self, names: Sequence[str]) -> None:
        with kernel.Socket() as outside:
            remove_slots(self._folder, outside, names)


async def _on(
    thread: ThreadPoolExecutor, work: Callable[[*Arguments], Result], *arguments: *Arguments
) -> Result:
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work, *arguments)
    except OSError as error:
        raise NetworkError(str(error)) from error
