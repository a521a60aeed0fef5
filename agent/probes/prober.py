"""All probes of the node that are being asked now, by the run of the container."""

import asyncio
import logging

from agent.probes import command, schedule
from agent.probes.schedule import Probes, Said, Target

_log = logging.getLogger(__name__)


class Prober:
    def __init__(self, runtime: command.Runtime) -> None:
        self._runtime = runtime
        self._asking: dict[str, asyncio.Task[None]] = {}

    def start(self, target: Target, probes: Probes, said: Said) -> None:
        """Asks until `stop`; once for a run, however often it is started."""
        if target.container in self._asking:
            return
        ask = schedule.asker(self._runtime, target)
        task = asyncio.create_task(schedule.run(probes, ask, said), name=f"probes of {target.container}")
        self._asking[target.container] = task
        task.add_done_callback(lambda done: self._over(target.container, done))

    def stop(self, container: str) -> None:
        """One that is not asked is fine."""
        if task := self._asking.pop(container, None):
            task.cancel()

    async def close(self) -> None:
        """Asks nobody any more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, container: str, done: asyncio.Task[None]) -> None:
        self._asking.pop(container, None)
        if not done.cancelled() and (error := done.exception()):
            _log.error("probes of %s broke: %r", container, error)
