"""What nodes report of their tasks, into the store: in batches, only what is truer, then acknowledged."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from controlplane.api import happenings
from controlplane.cluster import change
from controlplane.loop import picture
from controlplane.store import codec, leadership, port
from orch.model.names import TaskId
from orch.model.task import TaskStatus, truer

WRITES_PER_COMMIT = 60
"""Each write has up to two guards, and a transaction holds 128."""
RETRY_SECONDS = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """Some statuses from one node, and whom to tell when they are stored."""

    node: str
    statuses: tuple[TaskStatus, ...]
    stored: Callable[[], None]


class StatusWriter:
    """`submit` and forget; `run` writes."""

    def __init__(
        self,
        store: port.Store,
        seen: picture.Picture,
        leader: leadership.Leadership,
        tell: Callable[[change.Tell], None],
    ) -> None:
        self._store = store
        self._picture = seen
        self._leader = leader
        self._tell = tell
        self._waiting: deque[Report] = deque()
        self._has_news = asyncio.Event()

    def submit(self, report: Report) -> None:
        """Nodes send the next batch only after the last was stored, so this does not grow without bound."""
        self._waiting.append(report)
        self._has_news.set()

    async def run(self) -> None:
        """For ever; reports that arrive while a transaction is under way share the next one."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while self._waiting:
                await self._write_some()

    async def _write_some(self) -> None:
        reports, edits = self._collect()
        for start in range(0, len(edits), WRITES_PER_COMMIT):
            part = edits[start : start + WRITES_PER_COMMIT]
            tells = [each for edit in part for each in self._happened(edit)]
            try:
                revision = await self._store.commit(self._guards(part), [codec.write(edit) for edit in part])
            except leadership.NotLeading:
                return  # the nodes say it again to the next leader
            except port.StoreError as failure:
                log.info("statuses are written anew: %s", failure)
                self._waiting.extendleft(reversed(reports))
                await asyncio.sleep(RETRY_SECONDS)
                return
            self._picture.committed(part, revision)
            for each in tells:
                self._tell(each)
        for report in reports:
            report.stored()

    def _happened(self, edit: codec.Save) -> Iterable[change.Tell]:
        if isinstance(edit.value, TaskStatus):
            yield from happenings.between(self._picture.cluster.status(edit.value.id), edit.value)

    def _collect(self) -> tuple[list[Report], list[codec.Save]]:
        """Whole reports, about one transaction of them."""
        reports: list[Report] = []
        found: dict[TaskId, TaskStatus] = {}
        while self._waiting and len(found) < WRITES_PER_COMMIT:
            report = self._waiting.popleft()
            reports.append(report)
            for status in self._news(report, found):
                found[status.id] = status
        return reports, [codec.Save(status) for status in found.values()]

    def _news(self, report: Report, found: dict[TaskId, TaskStatus]) -> Iterable[TaskStatus]:
        """What the report says of tasks that are the node's own, and is truer than what is known."""
        cluster = self._picture.cluster
        for status in report.statuses:
            task = cluster.task(status.id)
            if task is None or task.node != report.node or status.node != report.node:
                continue
            known = found.get(status.id) or cluster.status(status.id)
            if truer(known, status) is status:
                yield status

    def _guards(self, part: Sequence[codec.Save]) -> list[port.Guard]:
        guards: list[port.Guard] = [self._leader.guard()]
        for edit in part:
            observed = self._picture.guard(edit.key)
            guards.append(observed)
            if isinstance(observed, port.Absent):  # the first word of a task: it must not have been forgotten
                guards.append(port.Present(edit.key.removesuffix("observed") + "desired"))
        return guards
