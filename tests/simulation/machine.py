"""What one task does on a simulated machine, from its first moment to its end. Speaks through `Say` only."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from orch.model.names import TaskId
from orch.model.service import TaskTemplate
from orch.model.task import TaskState, TaskStatus
from tests.simulation.behaviour import Behaviour
from tests.simulation.virtual_time import VirtualClock

Say = Callable[[TaskStatus], None]


@dataclass(slots=True)
class Run:
    """One task that a node has been given."""

    id: TaskId
    template: TaskTemplate
    behaviour: Behaviour
    status: TaskStatus
    say: Say
    clock: VirtualClock
    crashed: asyncio.Event
    job: asyncio.Task[None] | None = None
    stopping: bool = False

    @property
    def is_over(self) -> bool:
        return self.status.state.is_final

    @property
    def may_run(self) -> bool:
        """A process of it may exist."""
        return not self.is_over and self.status.state > TaskState.PREPARING

    def start(self) -> None:
        self.job = asyncio.create_task(self._live())

    def stop(self, why: str = "") -> None:
        """Once is enough."""
        if self.stopping or self.is_over:
            return
        self.stopping = True
        self.kill()
        self.job = asyncio.create_task(self._end(why))

    def kill(self) -> None:
        """Without a word: the machine has lost power, or it is about to say something else."""
        if self.job is not None:
            self.job.cancel()

    # ── a life ───────────────────────────────────────────────────────────────────────────────────────────

    async def _live(self) -> None:
        while True:
            self._become(TaskState.PREPARING)
            await asyncio.sleep(self.behaviour.prepare)
            if self.behaviour.missing:
                image = self.template.containers[0].image
                self._become(TaskState.REJECTED, reason="ImageNotFound", message=f"{image} is in no registry")
                return
            self._become(TaskState.STARTING)
            why = await self._run_once()
            if not why and self.template.restart.policy != "always":
                self._become(TaskState.COMPLETE)
                return
            if self._is_spent():
                self._become(TaskState.FAILED, reason="CrashLoop", message=why or "exited with 0")
                return
            await self._back_off(why or "exited with 0")

    async def _run_once(self) -> str:
        """How it ended; empty when well."""
        self.crashed.clear()
        self._become(TaskState.RUNNING, started_at=self.clock.now())
        began = self.clock.steady()
        ends = [self._after(began, self.behaviour.crash), self._after(began, self.behaviour.finish)]
        ready = self._after(began, self.behaviour.ready)
        end = min((each for each in ends if each is not None), default=None)
        if ready is not None and (end is None or ready < end):
            if await self._crashes_before(ready):
                return "exited with 1"
            self._become(TaskState.RUNNING, ready=True, ready_since=self.clock.now())
        if await self._crashes_before(end):
            return "exited with 1"
        return "exited with 1" if end == ends[0] else ""

    def _after(self, began: float, delay: float | None) -> float | None:
        return None if delay is None else began + delay

    async def _crashes_before(self, instant: float | None) -> bool:
        """Wait until the instant, or until somebody makes it crash."""
        try:
            left = None if instant is None else max(0.0, instant - self.clock.steady())
            await asyncio.wait_for(self.crashed.wait(), left)
        except TimeoutError:
            return False
        return True

    def _is_spent(self) -> bool:
        most = self.template.restart.most_attempts
        if self.template.restart.policy == "never":
            most = 0
        return most is not None and self.status.restarts >= most

    async def _back_off(self, why: str) -> None:
        """At once the first time, then later and later."""
        restart, restarts = self.template.restart, self.status.restarts
        delay = 0.0 if restarts == 0 else min(restart.backoff * 2 ** (restarts - 1), restart.max_backoff)
        retry_at = self.clock.now() + delay
        self._become(TaskState.BACKOFF, reason="CrashLoop", message=why, retry_at=retry_at)
        await asyncio.sleep(delay)
        self.status = replace(self.status, restarts=restarts + 1)

    async def _end(self, why: str) -> None:
        if self.status.state > TaskState.PREPARING:
            self._become(TaskState.STOPPING)
            await asyncio.sleep(self.template.drain_delay)
            await asyncio.sleep(min(self.behaviour.stop, self.template.stop.grace_period))
        self._become(TaskState.COMPLETE, reason=why)

    def _become(self, state: TaskState, **words: Any) -> None:
        cleared: dict[str, Any] = {"ready": False, "ready_since": 0.0, "reason": "", "message": ""}
        if state.is_final:
            cleared["finished_at"] = self.clock.now()
        sequence = self.status.sequence + 1
        self.status = replace(self.status, state=state, sequence=sequence, **(cleared | words))
        self.say(self.status)
