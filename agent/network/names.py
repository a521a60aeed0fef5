"""The agent's side of orch-dns: starts it where it does not run, and tells it the cluster's names.

The services lie in a file, so that orch-dns has them again after a restart of its own; a word only says that there
is something new in it.
"""

import asyncio
import logging
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.network import names_doors, names_process
from agent.network.attachment import NetworkError
from agent.network.names_file import NamesFile

START_TIMEOUT_SECONDS = 10
RESTART_AFTER_SECONDS = (0.0, 0.1, 0.5, 1.0, 5.0)
"""Pauses before an orch-dns that ended is started again; the last one goes on."""
STEADY_AFTER_SECONDS = 30
"""One that lived so long was well: the pauses begin anew."""
_log = logging.getLogger(__name__)


class Names:
    """`folder` is shared with orch-dns, which listens on our address in each of the subnets."""

    def __init__(
        self,
        folder: Path,
        subnets: Sequence[str],
        ranges: Sequence[str],
        resolv_conf: Path,
        settle: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Starts nothing yet. `subnets` are as 10.208.4.1/22.

        `ranges` are those of the cluster, whose owners only we know. `settle` is told the pid of each orch-dns:
        it is to outlive the agent.
        """
        self._folder = folder
        self._addresses = [each.partition("/")[0] for each in subnets]
        self._doors = names_doors.Doors()
        self._arguments = (
            str(resolv_conf),
            names_process.code(),
            ",".join(filter(None, ranges)) or "-",
            *subnets,
        )
        self._settle = settle
        self._file = NamesFile(folder / "services")
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._revival: asyncio.Task[None] | None = None
        self._ends = 0
        self._since = 0.0

    async def start(self) -> None:
        """Finds orch-dns running as it should, or starts it; returns when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        async with self._turn:
            await self._start()

    async def set(self, lines: Mapping[str, str]) -> None:
        """All services, as agent.names says them; returns when orch-dns answers with them."""
        async with self._turn:
            word = await asyncio.to_thread(self._file.write, lines)
            if not word:
                return
            said = await names_process.say(self._folder, word, names_process.LONG_WORD_TIMEOUT_SECONDS)
            if said is None:
                await self._start()

    def close(self) -> None:
        """Watches it no longer; it goes on."""
        self._leave()
        self._doors.close()
        if self._revival is not None:
            self._revival.cancel()

    async def end(self) -> None:
        """Ends orch-dns and removes its folder; idempotent."""
        self.close()
        async with self._turn:
            await dismiss(self._folder)

    async def _start(self) -> None:
        said = await names_process.say(self._folder, "hello")
        if said is None or said.split(" ", 2)[-1] != " ".join(self._arguments):
            if said is not None:
                await self._replace(said)
            await asyncio.to_thread(names_process.wait_unlocked, self._folder)
            if not self._doors:
                self._doors = names_doors.opened(self._addresses)
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                self._process, verdict = await names_process.spawn(
                    self._folder, self._arguments, self._doors.descriptors
                )
            said = await names_process.say(self._folder, "hello") if verdict == "ok" else None
            if said is None:
                raise NetworkError(
                    verdict.removeprefix("ok") or f"orch-dns ended at once: see {self._folder}/log"
                )
        elif not self._doors:
            self._doors = await asyncio.to_thread(names_doors.of, self._folder)
        self._watch(said)

    async def _replace(self, said: str) -> None:
        """One of another version ends; where it listens as we would, questions wait for the next one."""
        if not self._doors and said.split(" ")[5:] == list(self._arguments[3:]):
            self._doors = await asyncio.to_thread(names_doors.of, self._folder)
        await names_process.say(self._folder, "end")

    def _watch(self, said: str) -> None:
        """Notices its end at once, also where another agent started it."""
        self._leave()
        self._since = asyncio.get_running_loop().time()
        pid = int(said.split(" ")[1])
        self._settle(pid)
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            raise NetworkError(f"orch-dns ended at once: see {self._folder}/log") from None
        asyncio.get_running_loop().add_reader(self._pidfd, self._lost)

    def _leave(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _lost(self) -> None:
        self._leave()
        if self._process is not None:
            self._process.poll()
        if asyncio.get_running_loop().time() - self._since > STEADY_AFTER_SECONDS:
            self._ends = 0
        if self._revival is None or self._revival.done():
            self._revival = asyncio.create_task(self._revive())

    async def _revive(self) -> None:
        while True:
            pause = RESTART_AFTER_SECONDS[min(self._ends, len(RESTART_AFTER_SECONDS) - 1)]
            self._ends += 1
            await asyncio.sleep(pause)
            try:
                async with self._turn:
                    await self._start()
            except (NetworkError, OSError, TimeoutError) as trouble:
                _log.warning("orch-dns ended and does not start again yet: %s", trouble)
            else:
                return


async def dismiss(folder: Path) -> None:
    """Ends the orch-dns of a folder, whoever started it, and removes the folder; idempotent."""
    await names_process.say(folder, "end")
    await asyncio.to_thread(names_process.remove_folder, folder)
