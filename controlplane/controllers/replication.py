"""Every wanted slot has an incumbent, and a successor while it changes; no other slot has anything.

The only emitter of CreateTask. Each slot is settled in turn and the counts are kept along the way, so that
every prefix of what is emitted leaves a legal cluster: never fewer available slots than the floor, never more
successors than the surge, never more than two live tasks in a slot.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.cluster.change import Change, CreateTask, RetireTask, Tell, Waiting, WakeAt
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import backoff, bounds, node_loss, slots, wants
from controlplane.controllers.slots import Layout, Slot
from controlplane.controllers.standing import Standing
from controlplane.controllers.wants import Want
from orch.model.event import EventType
from orch.model.names import ServiceName, TaskId
from orch.model.rollout import Rollout
from orch.model.service import Service
from orch.model.task import Task

PLACE_PATIENCE_SECONDS = 1.0
"""How long a successor may be without a place before its incumbent makes room, if the floor allows."""


def decide(cluster: Cluster, name: ServiceName, now: float) -> Iterator[Change]:
    """Surplus goes; slots of two are settled, lost ones replaced, empty ones filled, old ones renewed."""
    service = cluster.service(name)
    if service is None:
        for task in cluster.tasks_of(name):
            if cluster.is_live(task):
                yield RetireTask(task.id, "its service is gone")
        return
    layout = slots.read(cluster, service)
    for task in layout.surplus:
        yield RetireTask(task.id, _why_surplus(service, task))
    rollout = cluster.rollout(name)
    if rollout is not None and not service.deleted:
        yield from _Exchange(cluster, service, rollout, layout, now).run()


def _why_surplus(service: Service, task: Task) -> str:
    if service.deleted:
        return "the service is deleted"
    if task.id.birth != service.birth:
        return "of an earlier service of the same name"
    return f"scaled to {service.replicas}"


@dataclass(slots=True)
class _Counts:
    """Kept in step with every change that is emitted."""

    available: int = 0
    successors: int = 0
    in_flight: int = 0


class _Exchange:
    """One look at all wanted slots of a service."""

    def __init__(
        self, cluster: Cluster, service: Service, rollout: Rollout, layout: Layout, now: float
    ) -> None:
        self.cluster, self.service, self.rollout, self.now = cluster, service, rollout, now
        self.layout = layout
        self.standing = Standing(cluster, service, now)
        self.wants = wants.of_slots(cluster, service, rollout, layout)
        self.bounds = bounds.bounds_of(service, len(layout))
        self.counts = _Counts()
        self.wake: list[float] = []

    def run(self) -> Iterator[Change]:
        """Most slots of most looks are as they should be: those are counted, and that is all."""
        restless = [slot for slot in self.layout if not self._is_at_rest(slot)]
        for slot in restless:
            self._count(slot)
        for slot in restless:
            yield from self._settle(slot, self.wants[slot.number])
        for slot in restless:
            yield from self._replace_lost(slot)
        self.counts.in_flight += sum(
            self.standing.is_in_flight(slot, self.wants[slot.number].revision) for slot in restless
        )
        for slot in restless:
            if not slot.live:
                yield from self._fill(slot, self.wants[slot.number])
        yield from self._renew(restless)
        due = [instant for instant in self.wake if instant > self.now]
        if due:
            yield WakeAt(min(due))

    # ── counting ─────────────────────────────────────────────────────────────────────────────────────────

    def _is_at_rest(self, slot: Slot) -> bool:
        """It has one task, which fits and whose node is heard from: it is counted, and nothing is done."""
        if len(slot.live) != 1:
            return False
        task, want = slot.live[0], self.wants[slot.number]
        if self.cluster.is_lost(task) or self.standing.unfit(task, want):
            return False
        at = self.cluster.available_at(task)
        if at is not None and at <= self.now:
            self.counts.available += 1
            return True
        if at is not None:
            self.wake.append(at)
        self.counts.in_flight += self.standing.is_in_flight(slot, want.revision)
        return True

    def _count(self, slot: Slot) -> None:
        served = False
        for task in slot.live:
            at = self.cluster.available_at(task)
            served = served or (at is not None and at <= self.now)
            if at is not None and at > self.now:
                self.wake.append(at)
        revision = self.wants[slot.number].revision
        self.counts.available += served or (not slot.live and self.standing.due(slot, revision).done)
        self.counts.successors += len(slot.live) > 1

    def _has_spare(self) -> bool:
        """One more slot may go without an available task."""
        return self.counts.available - 1 >= self.bounds.floor

    # ── two live tasks in a slot ─────────────────────────────────────────────────────────────────────────

    def _settle(self, slot: Slot, want: Want) -> Iterator[Change]:
        """What does not fit goes, unless the slot would lose its only available task."""
        for extra in slot.live[2:]:
            slot.live.remove(extra)
            yield RetireTask(extra.id, "a slot has one incumbent and one successor")
        incumbent, successor = slot.incumbent, slot.successor
        if incumbent is None or successor is None:
            return
        judge = self.standing.must_leave if want.held else self.standing.unfit
        old, new = judge(incumbent, want), judge(successor, want)
        if not old and not new and want.held:
            return
        if old and not new:
            yield from self._succeed(slot, incumbent, successor, old)
            return
        leaves, stays = (
            (incumbent, successor)
            if self.standing.is_available(successor) and not self.standing.is_available(incumbent)
            else (successor, incumbent)
        )
        if new and not old and leaves is incumbent:
            leaves, stays = successor, incumbent
            if not self._has_spare():
                yield Waiting(successor.id, f"{incumbent.id} is not available yet; until then this one stays")
                return
            self.counts.available -= 1
        yield from self._retire(slot, leaves, judge(leaves, want) or f"{stays.id} has the slot")

    def _succeed(self, slot: Slot, incumbent: Task, successor: Task, reason: str) -> Iterator[Change]:
        """The successor fits and the incumbent does not: it takes over as soon as it is available."""
        if self.standing.is_available(successor) or self.standing.is_gone(incumbent):
            yield from self._retire(slot, incumbent, reason)
        elif self._wants_room(successor) and (not self.standing.is_available(incumbent) or self._has_spare()):
            self.counts.available -= self.standing.is_available(incumbent)
            yield from self._retire(slot, incumbent, f"makes room for {successor.id}: {reason}")
        else:
            yield Waiting(incumbent.id, f"{reason}; goes when {successor.id} is available")

    def _wants_room(self, successor: Task) -> bool:
        patient_until = successor.created_at + PLACE_PATIENCE_SECONDS
        if not successor.node:
            self.wake.append(patient_until)
        return not successor.node and patient_until <= self.now

    def _retire(self, slot: Slot, task: Task, reason: str) -> Iterator[Change]:
        if len(slot.live) > 1:
            self.counts.successors -= 1
        slot.live.remove(task)
        slot.past.append(task)
        slot.past.sort(key=lambda each: each.id.attempt)
        yield RetireTask(task.id, reason)

    # ── lost nodes ───────────────────────────────────────────────────────────────────────────────────────

    def _replace_lost(self, slot: Slot) -> Iterator[Change]:
        for task in list(slot.live):
            loss = node_loss.of(self.cluster, task)
            if loss is None:
                continue
            if self.standing.is_gone(task):
                yield from self._retire(slot, task, loss.reason)
                yield self._tell(
                    EventType.WARNING, "NodeLost", task.id, f"{loss.reason}; {task.id} is replaced"
                )
            elif loss.replaceable_at is None:
                yield Waiting(
                    task.id, f"{loss.reason}; onNodeLoss is wait: remove the node to replace the task"
                )
            else:
                self.wake.append(loss.replaceable_at)
                left = loss.replaceable_at - self.now
                yield Waiting(task.id, f"{loss.reason}; in {left:.0f}s it has surely stopped and is replaced")

    # ── empty slots ──────────────────────────────────────────────────────────────────────────────────────

    def _fill(self, slot: Slot, want: Want) -> Iterator[Change]:
        """With the wanted revision if that may get further now, else with what the slot had."""
        may_change = self.counts.in_flight < self.bounds.in_flight
        revision = want.revision if may_change else want.fill
        due = self.standing.due(slot, revision)
        last = slot.past[-1] if slot.past else None
        if due.done:
            return
        if revision == want.revision:
            self.counts.in_flight += not self.standing.is_in_flight(slot, want.revision)
        if bounds.is_exclusive(self.service.spec):
            stopping = next((task for task in slot.past if self.standing.may_run_still(task)), None)
            if stopping is not None:
                yield Waiting(stopping.id, "not replaced before it has provably stopped")
                return
        if due.at is None or due.at > self.now:
            yield Waiting(last.id if last else self.service.name, self._in_a_while(due))
            self.wake.extend(() if due.at is None else (due.at,))
            return
        cause = f"replaces {last.id}" if last else f"slot {slot.number}"
        yield from self._create(slot, want, revision, cause)
        if due.reason and last:
            yield self._tell(EventType.WARNING, "TaskReplaced", last.id, due.reason)

    def _in_a_while(self, due: backoff.Due) -> str:
        return due.reason if due.at is None else f"{due.reason}; replaced in {due.at - self.now:.1f}s"

    def _create(self, slot: Slot, want: Want, revision: int, cause: str) -> Iterator[Change]:
        """The attempt is greater than any that is known or was forgotten, so no uid ever returns."""
        known = max((task.id.attempt for task in (*slot.live, *slot.past)), default=0)
        attempt = max(known, self.rollout.forgotten_attempt) + 1
        name = self.service.name
        bound_to = want.bound_to if revision == want.revision else ()
        if slot.node:
            bound_to = (slot.node,)
        task = Task(
            TaskId(name.namespace, name.name, self.service.birth, slot.number, attempt),
            revision,
            cause=cause,
            bound_to=bound_to,
            created_at=self.now,
        )
        slot.live.append(task)
        yield CreateTask(task)

    # ── renewal ──────────────────────────────────────────────────────────────────────────────────────────

    def _renew(self, restless: list[Slot]) -> Iterator[Change]:
        """Slots whose only task does not fit; those that nobody misses first."""
        stale = []
        for slot in restless:
            if len(slot.live) == 1:
                reason = self.standing.unfit(slot.live[0], self.wants[slot.number])
                if reason:
                    stale.append((self.standing.is_available(slot.live[0]), slot.number, slot, reason))
        for _, number, slot, reason in sorted(stale, key=lambda each: each[:2]):
            yield from self._renew_slot(slot, self.wants[number], reason)

    def _renew_slot(self, slot: Slot, want: Want, reason: str) -> Iterator[Change]:
        incumbent = slot.live[0]
        if self.cluster.is_lost(incumbent):
            return
        changes = incumbent.revision != want.revision
        if changes and self.counts.in_flight >= self.bounds.in_flight:
            yield Waiting(incumbent.id, f"{reason}; {self.bounds.in_flight} at a time")
            return
        due = self.standing.due(slot, want.revision) if changes else backoff.NOW
        if due.at is not None and due.at > self.now:
            self.wake.append(due.at)
            yield Waiting(incumbent.id, self._in_a_while(due))
            return
        self.counts.in_flight += changes
        if self._goes_first(incumbent, want):
            self.counts.available -= self.standing.is_available(incumbent)
            yield from self._retire(slot, incumbent, reason)
            if not bounds.is_exclusive(self.service.spec):
                yield from self._create(slot, want, want.revision, f"replaces {incumbent.id}: {reason}")
        elif self.counts.successors < self.bounds.surge:
            self.counts.successors += 1
            yield from self._create(slot, want, want.revision, f"succeeds {incumbent.id}: {reason}")
        else:
            self.counts.in_flight -= changes
            yield Waiting(incumbent.id, f"{reason}; {self._why_not_now()}")

    def _goes_first(self, incumbent: Task, want: Want) -> bool:
        """The incumbent is retired before its successor is there.

        Because nobody misses it; or as the floor allows it and no surge is left, or no room for two.
        """
        if not self.cluster.is_ready(incumbent):
            return True
        if self.standing.is_available(incumbent) and not self._has_spare():
            return False
        if self.counts.successors >= self.bounds.surge:
            return self.standing.is_available(incumbent) or self._has_spare()
        return incumbent.node in want.bound_to and self.standing.excludes_itself(want.revision)

    def _why_not_now(self) -> str:
        spent = f"surge {self.bounds.surge} is used up" if self.bounds.surge else "there is no surge"
        return f"{spent}, and {self.counts.available} available is not above the floor of {self.bounds.floor}"

    def _tell(self, kind: EventType, reason: str, task: TaskId, message: str) -> Tell:
        return Tell(kind, reason, f"task/{task.full_name}", task.namespace, message)
