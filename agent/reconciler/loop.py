"""The only actor: facts come in, a task is decided anew, its next step is carried out, its status goes out.

Tasks do not wait for each other. A task is woken by its facts, by what is asked of it and by its own clock;
waking carries no data, and waking once too often does no harm.
"""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from agent.network.attachment import Attached
from agent.reconciler import adopt, decide, learning, notes, observed, report, run_name, step
from agent.reconciler.asked import Asked
from agent.reconciler.leftovers import Leftovers
from agent.reconciler.notes import Notes
from agent.reconciler.observed import Fact, Observed
from agent.reconciler.perform import Performer
from agent.reconciler.rooms import Rooms
from agent.runtime.container import Exited, Running
from orch.model.task import TaskStatus, Wanted

_log = logging.getLogger(__name__)

MOST_STEPS_AT_ONCE = 64
"""Steps of different tasks that are carried out side by side; what waits for a registry has its own bound."""
MOST_PULLS_AT_ONCE = 16
LASTS_SECONDS = 0.2
"""Steps that follow each other faster are not reported one by one."""
MOST_EARLY_EXITS = 10_000
"""Ends of containers whose start was not yet told; those of leftovers are never asked for."""

Publish = Callable[[TaskStatus], None]
Remember = Callable[[str, bytes | None], None]
"""Keep the notes of a task, or forget them (None)."""


@dataclass(slots=True)
class Work:
    """One task on its way."""

    asked: Asked
    seen: Observed
    dropped: bool = False
    """No longer asked for: to be forgotten when it has ended."""
    status: TaskStatus | None = None
    noted: Notes = field(default_factory=Notes)
    driver: asyncio.Task[None] | None = None
    doing: step.Step | None = None
    abandon: Callable[[], object] | None = None
    timer: asyncio.TimerHandle | None = None


class Loop:
    def __init__(
        self,
        rooms: Rooms,
        *,
        node: str,
        incarnation: int,
        clock: Callable[[], float],
        publish: Publish,
        remember: Remember,
    ) -> None:
        self._performer = Performer(rooms, incarnation, clock, self.tell)
        self._rooms = rooms
        self._node = node
        self._incarnation = incarnation
        self._clock = clock
        self._publish = publish
        self._remember = remember
        self._works: dict[str, Work] = {}
        self._early: dict[str, Exited] = {}
        self._leftovers = Leftovers(rooms, self._performer.clean_up)
        self._steps = asyncio.Semaphore(MOST_STEPS_AT_ONCE)
        self._pulls = asyncio.Semaphore(MOST_PULLS_AT_ONCE)
        self._closed = False
        self.contact: float | None = None
        """When the control plane was last heard; None: never since this machine began."""

    # -- what comes in ---------------------------------------------------------------------------------

    @property
    def asked(self) -> dict[str, Asked]:
        """What is asked for now, by key."""
        return {key: work.asked for key, work in self._works.items() if not work.dropped}

    def images_in_use(self) -> tuple[set[str], set[str]]:
        """Manifest digests that tasks here have, and references that they want."""
        digests: set[str] = set()
        references: set[str] = set()
        for work in self._works.values():
            digests.update(image.digest for image in work.seen.images.values())
            digests.update(each.digest for each in work.seen.containers.values() if each.digest)
            references.update(spec.image for spec in work.asked.all_containers())
        return digests, references

    def statuses(self) -> tuple[TaskStatus, ...]:
        """Of all tasks here, as they are now, also in the middle of a step."""
        for work in self._works.values():
            self._report(work)
        return tuple(work.status for work in self._works.values() if work.status is not None)

    def look_up(self, key: str) -> tuple[Asked | None, Observed | None]:
        """One task."""
        work = self._works.get(key)
        return (work.asked, work.seen) if work else (None, None)

    def adopt(
        self,
        tasks: Mapping[str, Asked],
        containers: Mapping[str, Running | Exited],
        attached: Mapping[str, Attached],
        kept: Mapping[str, Notes],
    ) -> None:
        """At the start: what is asked for, as the ledger says, and what is there. Nothing is removed yet."""
        found = adopt.by_task(containers)
        for key, asked in tasks.items():
            noted = kept.get(key, Notes())
            seen = adopt.task(asked, found.get(key, {}), attached.get(key), noted, self._rooms.images.find)
            self._works[key] = Work(asked, seen, noted=noted)
        for key in tasks:
            self._look(key)

    def ask(self, tasks: Mapping[str, Asked]) -> None:
        """Exactly these tasks are asked for from now on; the others are ended and forgotten."""
        for key, asked in tasks.items():
            work = self._works.get(key)
            if work is None:
                self._works[key] = Work(asked, Observed())
            elif work.asked == asked and not work.dropped:
                continue
            else:
                work.asked, work.dropped = asked, False
            self._look(key)
        for key, work in list(self._works.items()):
            if key not in tasks and not work.dropped:
                self._drop(key, work)

    def tell(self, key: str, fact: Fact) -> None:
        """Something happened to a task."""
        if work := self._works.get(key):
            self._apply(key, work, fact)
            self._look(key)

    def exited(self, exited: Exited) -> None:
        """A container ended."""
        name = run_name.parse(exited.container)
        if name is None:
            return
        self._rooms.prober.stop(exited.container)
        work = self._works.get(name.task)
        if work is not None and work.seen.container(name.container).id == exited.container:
            self.tell(name.task, adopt.ended(work.asked, name.container, exited, self._clock()))
        elif len(self._early) < MOST_EARLY_EXITS:
            self._early[exited.container] = exited

    def heard(self) -> None:
        """The control plane is there."""
        self.contact = self._clock()

    async def look_around(self) -> None:
        """A slow full pass that repairs what a lost event missed: every task is decided anew."""
        believed = {
            container.id: container for work in self._works.values() for container in work.seen.running()
        }
        there = await self._rooms.runtime.containers()
        for run, container in believed.items():
            match there.get(run):
                case Exited() as exited:
                    self.exited(exited)
                case None:
                    pid = container.running.pid if container.running else 0
                    self.exited(Exited(run, pid, None, None, False, self._clock()))
                case Running():
                    continue
        for key in list(self._works):
            self._look(key)

    async def remove_leftovers(self) -> None:
        """What is here of tasks that nobody asks for. Only after a whole and valid set of tasks has come."""
        await self._leftovers.remove(self._works)

    async def close(self) -> None:
        """Decide nothing any more; everything keeps running."""
        self._closed = True
        drivers = [work.driver for work in self._works.values() if work.driver]
        for work in self._works.values():
            if work.timer:
                work.timer.cancel()
        for task in drivers:
            task.cancel()
        await asyncio.gather(*drivers, self._leftovers.close(), return_exceptions=True)

    # -- one task --------------------------------------------------------------------------------------

    def _look(self, key: str) -> None:
        """See to it that the task is decided anew, soon and once."""
        work = self._works[key]
        if self._closed:
            return
        if work.driver is None:
            work.driver = asyncio.create_task(self._drive(key, work), name=f"task {key}")
        elif work.abandon is not None and self._next(work) != work.doing:
            work.abandon()

    def _next(self, work: Work) -> decide.Next:
        return decide.decide(work.asked, work.seen, self._clock(), self.contact)

    async def _drive(self, key: str, work: Work) -> None:
        """Step by step until there is nothing to do."""
        lasts = asyncio.get_running_loop().call_later(LASTS_SECONDS, self._report, work)
        try:
            while True:
                found = self._next(work)
                if isinstance(found, step.WakeAt | step.Waiting):
                    self._report(work)
                    self._rest(key, work, found)
                    return
                fact = await self._carry_out(work, found)
                if fact is not None:
                    self._apply(key, work, fact)
                if work.seen.final is not None:
                    self._report(work)
                    if work.dropped:
                        self._forget(key)
                        return
        except Exception:
            _log.exception("task %s cannot be decided", key)
        finally:
            lasts.cancel()
            work.driver = None

    def _rest(self, key: str, work: Work, found: step.Idle) -> None:
        if work.timer is not None:
            work.timer.cancel()
            work.timer = None
        if isinstance(found, step.WakeAt):
            loop = asyncio.get_running_loop()
            work.timer = loop.call_later(max(found.at - self._clock(), 0.0), self._wake, key)

    def _wake(self, key: str) -> None:
        if key in self._works:
            self._look(key)

    async def _carry_out(self, work: Work, what: step.Step) -> Fact | None:
        """None when it was given up on the way."""
        if not isinstance(what, step.PullImage):
            async with self._steps:
                return await self._performer.perform(work.asked, work.seen, what)
        async with self._pulls:
            pull = asyncio.ensure_future(self._performer.perform(work.asked, work.seen, what))
            work.doing, work.abandon = what, pull.cancel
            try:
                await asyncio.wait([pull])
                return None if pull.cancelled() else pull.result()
            finally:
                work.doing = work.abandon = None
                pull.cancel()

    def _apply(self, key: str, work: Work, fact: Fact) -> None:
        work.seen = learning.after(work.seen, fact)
        if isinstance(fact, observed.Launched) and (early := self._early.pop(fact.running.container, None)):
            ended = adopt.ended(work.asked, fact.container, early, self._clock())
            work.seen = learning.after(work.seen, ended)
        ready = report.is_ready(work.asked, work.seen)
        if ready != bool(work.seen.ready_since):
            work.seen = learning.after(work.seen, observed.BecameReady(self._clock() if ready else 0.0))
        if isinstance(fact, observed.Launched | observed.Pulling):
            self._report(work)
        remembered = notes.of(work.seen)
        if remembered != work.noted:
            work.noted = remembered
            self._remember(key, notes.write(remembered))

    def _report(self, work: Work) -> None:
        status = report.report(work.asked, work.seen, self._clock(), self._node, self.contact)
        last = work.status
        sequence = last.sequence if last else 0
        status = replace(status, incarnation=self._incarnation, sequence=sequence)
        if status != last:
            work.status = replace(status, sequence=sequence + 1)
            self._publish(work.status)

    # -- its end ---------------------------------------------------------------------------------------

    def _drop(self, key: str, work: Work) -> None:
        work.dropped = True
        if work.seen.final is not None:
            self._forget(key)
            return
        since = work.asked.stop_since or self._clock()
        work.asked = replace(work.asked, wanted=Wanted.STOP, stop_since=since, drained_since=since)
        self._look(key)

    def _forget(self, key: str) -> None:
        work = self._works.pop(key)
        if work.timer:
            work.timer.cancel()
        for run in [each for each in self._early if each.startswith(key)]:
            del self._early[run]
        self._remember(key, None)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._rooms.logs / key)
