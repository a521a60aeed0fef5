"""The one picture of this process: what the mirror tells, and our own commits before it tells them.

Each key takes the write with the greatest revision, whoever brings it first, so the picture never goes back
to a time before our own commits, however far the mirror lags.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from controlplane.cluster import editing, snapshot
from controlplane.loop import folding
from controlplane.store import codec, keys, port
from orch import wire
from orch.model.config import Config, Secret
from orch.model.event import Event
from orch.model.names import ObjectName, ServiceName, TaskId


@dataclass(slots=True)
class Touched:
    """What a step changed, for those who look after it."""

    keys: set[str] = field(default_factory=set)
    services: set[ServiceName] = field(default_factory=set)
    """Of which the service, a revision, the rollout or a task changed."""
    tasks: set[TaskId] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    """Whose own spec or status changed."""
    assigned: set[str] = field(default_factory=set)
    """Nodes for which another set of tasks is wanted than before."""
    endpoints: set[ServiceName] = field(default_factory=set)
    """Services whose tasks became ready or unready, came or went."""
    frees: bool = False
    """There may be room where there was none."""


Listener = Callable[[Touched], object]

CHANGE_WITHIN_SECONDS = 0.25


class Picture:
    """A `mirror.Fold`; ask it for `cluster`, and be told what changes."""

    def __init__(self) -> None:
        self.cluster = snapshot.Cluster()
        self.events: dict[str, Event] = {}
        self.versions: folding.Versions = {}
        self._settled = 0
        self._deleted: dict[str, int] = {}
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Be told after every step; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def is_whole_at(self, revision: int) -> bool:
        """Whether all up to this revision is in the picture; else nobody may act on it."""
        return self._settled >= max(revision, 1)

    def version_of(self, wanted: tuple[bool, ObjectName, int]) -> Config | Secret | None:
        """A version of a secret (True) or config (False) that is still kept."""
        return self.versions.get(keys.version(*wanted))

    def guard(self, key: str) -> port.Guard:
        """That the key is as this picture shows it."""
        return port.as_seen(key, self.cluster.modified.get(key))

    def nudge(self, services: set[ServiceName]) -> None:
        """Something is to be said of these services that no key holds: why they wait."""
        self._tell(Touched(services=services))

    async def wait_change(self) -> None:
        """Until anything is different, and at most CHANGE_WITHIN_SECONDS."""
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stop = self.listen(lambda _: None if changed.done() else changed.set_result(None))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHANGE_WITHIN_SECONDS):  # wait_for may forget a cancellation
                    await changed
        finally:
            stop()

    # ── the mirror's side ────────────────────────────────────────────────────────────────────────────────

    def replace(self, entries: Sequence[port.Entry], revision: int) -> None:
        """As `mirror.Fold`: only what differs is taken in."""
        listed = {entry.key for entry in entries}
        gone = [
            port.Removed(key, revision)
            for key, modified in self.cluster.modified.items()
            if key not in listed and modified <= revision
        ]
        self._take([*gone, *(port.Changed(entry) for entry in entries)], revision, settled=revision)

    def update(self, batch: port.Batch) -> None:
        """As `mirror.Fold`."""
        self._take(batch.events, batch.revision, settled=batch.revision)

    # ── our own side ─────────────────────────────────────────────────────────────────────────────────────

    def committed(self, edits: Iterable[codec.Edit], revision: int) -> None:
        """We have written this at that revision; the mirror will say the same later."""
        step = folding.Step(self.cluster, self.events, self.versions)
        touched = Touched()
        written: dict[str, int | None] = {}
        newer: dict[str, bytes] = {}
        for edit in edits:
            key = edit.key
            if self._known(key) >= revision:
                continue
            match edit:
                case codec.Save(value=value):
                    step.save(key, codec.born(value, revision), touched)
                    written[key] = revision
                    if key in self.cluster.newer:
                        newer[key] = wire.rewrite(value, self.cluster.newer[key])
                case codec.Mark(content=content):
                    step.mark(key, content, touched)
                    written[key] = revision
                case codec.Drop():
                    step.drop(key, touched)
                    written[key] = None
                    self._deleted[key] = revision
        self._finish(step, written, newer, revision, touched)

    def _take(self, events: Iterable[port.Event], revision: int, settled: int) -> None:
        self._settled = settled
        step = folding.Step(self.cluster, self.events, self.versions)
        touched = Touched()
        written: dict[str, int | None] = {}
        newer: dict[str, bytes] = {}
        for event in events:
            key = event.key
            if not folding.concerns(key) or max(self._known(key), written.get(key) or 0) >= event.modified:
                continue
            if isinstance(event, port.Removed):
                step.drop(key, touched)
                written[key] = None
                self._deleted[key] = event.modified
            else:
                value, is_newer = codec.decode(event.entry)
                if is_newer:
                    newer[key] = event.entry.value
                else:
                    newer.pop(key, None)
                if value is not None:
                    step.save(key, value, touched)
                else:
                    step.mark(key, event.entry.value, touched)
                written[key] = event.modified
        if self._deleted:
            self._deleted = {key: at for key, at in self._deleted.items() if at > settled}
        self._finish(step, written, newer, revision, touched)

    def _known(self, key: str) -> int:
        return self.cluster.modified.get(key) or self._deleted.get(key, 0)

    def _finish(
        self,
        step: folding.Step,
        written: dict[str, int | None],
        newer: dict[str, bytes],
        revision: int,
        touched: Touched,
    ) -> None:
        self.cluster = editing.at(step.cluster, max(revision, self.cluster.revision), written, newer)
        if written:
            touched.keys.update(written)
            self._tell(touched)

    def _tell(self, touched: Touched) -> None:
        for listener in tuple(self._listeners):
            listener(touched)
