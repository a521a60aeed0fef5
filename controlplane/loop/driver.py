"""Wake, look, decide, commit: the only actor of the control plane.

Level-triggered: a name in the queue says "look", nothing more. A conflict means "look again". Decisions are
made on the picture with our own commits in it, in slices so short that no heartbeat waits for long.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from controlplane.cluster import change, snapshot
from controlplane.loop import clock, edits, liveness, picture, pipeline, queue, recorder
from controlplane.store import leadership, port, sequence
from orch.model.names import ServiceName, TaskId

SLICE_SECONDS = 0.05
MOST_NAMES_PER_TURN = 256
ENOUGH_WRITES = 100
"""A turn stops collecting here: about one transaction of the store."""
LONGEST_REST_SECONDS = 0.5
NODE_PASS_SECONDS = 0.2
READING_SECONDS = 0.01
"""Between two looks whether all has been read that was written before we led."""
FULL_PASS_SECONDS = 60.0

log = logging.getLogger(__name__)
Subject = TaskId | ServiceName


@dataclass(slots=True)
class Figures:
    """What the loop has done; for measuring."""

    turns: int = 0
    commits: int = 0
    conflicts: int = 0
    longest_slice: float = 0.0


@dataclass(slots=True)
class _Decided:
    """What one turn came to."""

    on: snapshot.Cluster
    """The picture that it was decided on; it may have moved since."""
    names: list[ServiceName] = field(default_factory=list)
    changes: list[change.Change] = field(default_factory=list)
    wakes: list[tuple[ServiceName, float]] = field(default_factory=list)
    left: set[ServiceName] = field(default_factory=set)
    """There is more to decide about these, once this is carried out."""

    def add(self, decision: pipeline.Decision, names: Iterable[ServiceName]) -> None:
        """Decided for these names; they want to be looked at again when the changes say so."""
        self.changes += decision.changes
        self.left |= decision.left
        instants = [each.instant for each in decision.changes if isinstance(each, change.WakeAt)]
        self.wakes += [(name, instant) for name in names for instant in instants]


class Driver:
    """`run` it while the process lives; it acts only while we lead and the picture is complete."""

    def __init__(
        self,
        store: port.Store,
        seen: picture.Picture,
        leader: leadership.Leadership,
        heard: liveness.Liveness,
        told: recorder.Recorder,
        time: clock.Clock,
        deciders: pipeline.Pipeline,
    ) -> None:
        self._store = store
        self._picture = seen
        self._leader = leader
        self._liveness = heard
        self._recorder = told
        self._clock = time
        self._pipeline = deciders
        self._queue = queue.Queue()
        self._wake = asyncio.Event()
        self._waiting: dict[ServiceName, dict[Subject, str]] = {}
        self._resting: dict[ServiceName, float] = {}
        self._slice_began = 0.0
        self._term = 0
        self._next_node_pass = 0.0
        self._next_full_pass = 0.0
        self.figures = Figures()
        seen.listen(self._on_touched)
        leader.listen(self._wake.set)

    # ── what others ask ──────────────────────────────────────────────────────────────────────────────────

    def wake(self, name: ServiceName) -> None:
        """Look at the service soon."""
        self._queue.add(name)
        self._wake.set()

    def look_at_nodes(self) -> None:
        """Somebody was heard again: do not wait for the next pass."""
        self._next_node_pass = 0.0
        self._wake.set()

    def waiting_of(self, name: ServiceName) -> dict[Subject, str]:
        """Why something of the service does not happen now; empty when nothing waits."""
        return self._waiting.get(name, {})

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._sleep()
            if self._may_act():
                await self._turn()
            elif self._leader.epoch is not None:
                await asyncio.sleep(READING_SECONDS)
            await asyncio.sleep(0)  # everybody else's turn, however much there is to decide

    def _may_act(self) -> bool:
        epoch = self._leader.epoch
        if epoch is None or not self._picture.is_whole_at(epoch):
            return False
        if epoch != self._term:
            self._term = epoch
            self._liveness.begin(self._picture.cluster.nodes, self._clock.steady())
            self._next_full_pass = 0.0
        return True

    async def _sleep(self) -> None:
        if len(self._queue) and self._leader.epoch is not None:
            return
        now = self._clock.now()
        due = [self._queue.next_due(), self._next_node_pass] if self._leader.epoch is not None else []
        until = min((each for each in due if each is not None), default=now + NODE_PASS_SECONDS)
        if until > now:
            with suppress(TimeoutError):
                # not wait_for: with Python 3.11 it forgets a cancellation that comes together with the event
                async with asyncio.timeout(min(until - now, NODE_PASS_SECONDS)):
                    await self._wake.wait()
        self._wake.clear()

    async def _turn(self) -> None:
        self.figures.turns += 1
        now = self._clock.now()
        if now >= self._next_full_pass:
            self._next_full_pass = now + FULL_PASS_SECONDS
            self._add_all(sorted(self._picture.cluster.services))
        decided = await self._decide(now)
        self._note_waiting(decided, now)
        if self._leader.epoch == self._term:
            await self._carry_out(decided, now)

    # ── deciding, on one picture, whatever happens meanwhile ─────────────────────────────────────────────

    async def _decide(self, now: float) -> _Decided:
        self._slice_began = self._clock.steady()
        cluster = self._picture.cluster
        decided = _Decided(cluster)
        if now >= self._next_node_pass:
            self._next_node_pass = now + NODE_PASS_SECONDS
            ages = self._liveness.ages(self._clock.steady())
            decision = self._pipeline.decide_nodes(cluster, ages, now)
            cluster = decision.after
            decided.add(decision, ())
        await self._decide_services(cluster, decided, now)
        self._end_slice()
        return decided

    async def _decide_services(self, cluster: snapshot.Cluster, decided: _Decided, now: float) -> None:
        names = self._queue.take(now, MOST_NAMES_PER_TURN)
        deadline = self._clock.steady() + SLICE_SECONDS / 2  # placing takes its share of the slice afterwards
        for position, name in enumerate(names):
            began = self._clock.steady()
            decided.names.append(name)
            for decision in self._pipeline.decide_service(cluster, name, now):
                cluster = decision.after
                decided.add(decision, [name])
                await self._breathe()
            self._rest(name, self._clock.steady() - began)
            if len(decided.changes) >= ENOUGH_WRITES or self._clock.steady() > deadline:
                self._add_all(names[position + 1 :])
                break
        for decision in self._pipeline.place(cluster, decided.names, now):
            decided.add(decision, decided.names)
            await self._breathe()

    async def _breathe(self) -> None:
        """Heartbeats, the lease and users have their turn, when ours has been long enough."""
        if self._clock.steady() - self._slice_began > SLICE_SECONDS / 2:
            self._end_slice()
            await asyncio.sleep(0)
            self._slice_began = self._clock.steady()

    def _end_slice(self) -> None:
        took = self._clock.steady() - self._slice_began
        self.figures.longest_slice = max(self.figures.longest_slice, took)
        if took > SLICE_SECONDS:
            log.info("a slice of deciding took %.0f ms", took * 1000)

    def _rest(self, name: ServiceName, took: float) -> None:
        """What takes long to look at is looked at for at most half of the time."""
        self._resting.pop(name, None)
        if took > SLICE_SECONDS / 2:
            self._resting[name] = self._clock.now() + min(took, LONGEST_REST_SECONDS)

    def _note_waiting(self, decided: _Decided, now: float) -> None:
        found: dict[ServiceName, dict[Subject, str]] = {name: {} for name in decided.names}
        for each in decided.changes:
            if isinstance(each, change.Waiting):
                found.setdefault(_owner(each.subject), {})[each.subject] = each.reason
        for name, instant in decided.wakes:
            self._queue.add_at(name, max(instant, now))
        changed = set()
        for name, reasons in found.items():
            if self._waiting.get(name, {}) != reasons:
                changed.add(name)
            if reasons:
                self._waiting[name] = reasons
            else:
                self._waiting.pop(name, None)
        if changed:
            self._picture.nudge(changed)

    # ── carrying out ─────────────────────────────────────────────────────────────────────────────────────

    async def _carry_out(self, decided: _Decided, now: float) -> None:
        cluster = decided.on
        plan = edits.plan(cluster, decided.changes, now)
        if plan.was_cut:
            self._add_all(decided.names)
        done, stopped_by = await self._commit(cluster, plan.groups)
        for telling in plan.tellings:
            if telling.after <= done:
                self._recorder.tell(telling.what)
        if not plan.groups:
            for name in decided.names:
                self._queue.succeeded(name)
        elif stopped_by is not None:
            self.figures.conflicts += 1
            log.info("decided anew: %s", stopped_by)
            self._queue.failed(decided.names, self._clock.now())
            self._next_node_pass = min(self._next_node_pass, self._clock.now() + NODE_PASS_SECONDS)
            return
        for name in sorted(decided.left):
            self._queue.add(name)

    async def _commit(
        self, cluster: snapshot.Cluster, groups: Sequence[edits.Group]
    ) -> tuple[int, port.StoreError | None]:
        """Transaction after transaction, each told at once to everybody who looks at the picture.

        How many groups are in the store, and why not all.
        """
        guarded = [edits.guarded(cluster, group) for group in groups]
        done = 0
        try:
            for transaction in tuple(sequence.pack(guarded, self._leader.guard())):
                part = slice(done, done + transaction.groups)
                outcome = await sequence.commit(self._store, self._leader.guard(), guarded[part])
                self.figures.commits += 1
                if outcome.committed:
                    written = [edit for group in groups[part] for edit in group.edits.values()]
                    self._picture.committed(written, outcome.revision)
                done += outcome.committed
                if outcome.stopped_by is not None:
                    return done, outcome.stopped_by
        except port.StoreError as failure:  # no longer leading
            return done, failure
        return done, None

    # ── waking ───────────────────────────────────────────────────────────────────────────────────────────

    def _on_touched(self, touched: picture.Touched) -> None:
        if not touched.keys:
            return
        self._add_all(sorted(touched.services))  # the same picture, the same order: it can be played again
        if touched.nodes:
            self._next_node_pass = 0.0
            self._add_all(sorted(self._picture.cluster.services))
        elif touched.frees:
            self._add_all(self._waiting)

    def _add_all(self, names: Iterable[ServiceName]) -> None:
        for name in names:
            if name in self._resting:
                self._queue.add_at(name, self._resting[name])
            else:
                self._queue.add(name)
        if len(self._queue):
            self._wake.set()


def _owner(subject: Subject) -> ServiceName:
    return subject.owner if isinstance(subject, TaskId) else subject
