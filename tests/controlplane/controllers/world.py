"""A tiny world for the deciders: nodes that do as they are told, or not, and a law that watches all."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from controlplane.cluster import change, editing
from controlplane.cluster.after import after, after_one
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import bounds, slots
from controlplane.controllers.decide import NO_BOUND, decide_service, look
from controlplane.scheduler import place
from orch.model.names import ServiceName, TaskId
from orch.model.node import Condition
from orch.model.task import Task, TaskState, TaskStatus, Wanted
from tests.support.builders import WEB

MOST_ROUNDS = 400


@dataclass
class World:
    """Services decide in turn, nodes act in turn; `now` only moves when nothing else does."""

    cluster: Cluster
    now: float = 1000.0
    behaves: Callable[[Task], TaskState | None] = lambda _: TaskState.RUNNING
    """What becomes of a task on its node: a final state, RUNNING (ready), or None (never ready)."""
    stops: bool = True
    """Nodes finish what they are told to stop."""
    most: int = NO_BOUND
    """So many changes are written at a look, as for services that are very large."""
    used: set[TaskId] = field(default_factory=set)
    told: list[change.Change] = field(default_factory=list)

    def decide(self, name: ServiceName = WEB) -> list[change.Change]:
        """One look at one service, every change checked by the law; then places."""
        changes = [each for part in look(self.cluster, name, self.now, self.most) for each in part.changes]
        self._apply(name, changes)
        placed = place.place_service(self.cluster, name)
        self._apply(name, placed)
        return [*changes, *placed]

    def act(self, only: Iterable[TaskId] | None = None) -> bool:
        """Nodes that are up do one thing for each of their tasks; whether anything happened."""
        before = self.cluster.statuses
        chosen = None if only is None else set(only)
        for task in list(self.cluster.all_tasks()):
            if task.node and not self.cluster.is_lost(task) and (chosen is None or task.id in chosen):
                self._act_on(task)
        return self.cluster.statuses != before

    def settle(self, name: ServiceName = WEB) -> None:
        """Until nothing happens and nothing is waited for."""
        for _ in range(MOST_ROUNDS):
            changes = self.decide(name)
            wrote = any(
                not isinstance(each, change.Waiting | change.WakeAt | change.Tell) for each in changes
            )
            if self.act() or wrote:
                continue
            wakes = [each.instant for each in changes if isinstance(each, change.WakeAt)]
            if not wakes:
                return
            assert min(wakes) > self.now, "a wake that is due would be looked at for ever"
            self.now = min(wakes)
        raise AssertionError(f"not settled after {MOST_ROUNDS} rounds: {self.cluster.rollouts}")

    def set_node(self, name: str, *, down: bool) -> None:
        node = self.cluster.nodes[name]
        condition = Condition.DOWN if down else Condition.READY
        self.cluster = editing.with_node_status(
            self.cluster, replace(node.status, condition=condition, since=self.now)
        )

    def revisions_by_node(self, name: ServiceName = WEB) -> dict[str, list[int]]:
        """What runs where."""
        found: dict[str, list[int]] = {}
        for task in self.cluster.tasks_of(name):
            if self.cluster.is_live(task):
                found.setdefault(task.node, []).append(task.revision)
        return {node: sorted(revisions) for node, revisions in sorted(found.items())}

    # ── nodes ────────────────────────────────────────────────────────────────────────────────────────────

    def _act_on(self, task: Task) -> None:
        status = self.cluster.status(task.id)
        if status is not None and status.state.is_final:
            return
        known = status or TaskStatus(task.id, task.node, TaskState.ASSIGNED)
        if task.wanted is Wanted.STOP:
            if self.stops:
                self._report(replace(known, state=TaskState.COMPLETE, ready=False, finished_at=self.now))
            return
        become = self.behaves(task)
        if become is None:
            self._report(replace(known, state=TaskState.RUNNING, ready=False))
        elif become is TaskState.RUNNING:
            since = known.ready_since if known.ready else self.now
            self._report(replace(known, state=become, ready=True, ready_since=since))
        else:
            self._report(replace(known, state=become, ready=False, finished_at=self.now))

    def _report(self, status: TaskStatus) -> None:
        if self.cluster.statuses.get(status.id) != status:
            self.cluster = editing.with_status(self.cluster, status)

    # ── the law ──────────────────────────────────────────────────────────────────────────────────────────

    def _apply(self, name: ServiceName, changes: Iterable[change.Change]) -> None:
        """In order, so that every prefix is looked at."""
        for each in changes:
            before = self.cluster
            self.cluster = after_one(before, each, self.now)
            self.told.append(each)
            if isinstance(each, change.CreateTask):
                assert each.task.id not in self.used, f"{each.task.id} is used twice"
                self.used.add(each.task.id)
            if isinstance(each, change.AssignTask):
                self._check_place(before, each)
            self._check_slots(before, name, each)

    def _check_place(self, before: Cluster, one: change.AssignTask) -> None:
        task = self.cluster.task(one.id)
        assert task is not None
        node = self.cluster.nodes[one.node]
        assert node.is_ready
        assert self.cluster.allocated_on(one.node).fits_in(node.capacity) or not self.cluster.requested_by(
            task
        )
        for words in one.ports:
            holder = before.claims.get(one.node, {}).get(words.partition("/")[2])
            known = before.task(holder) if holder else None
            assert known is None or before.has_finished(known), f"{words} is held by {holder}"
        rollout = before.rollout(one.id.owner)
        if rollout and rollout.nodes and rollout.stable:
            assert (task.revision == rollout.target) == (one.node in rollout.nodes), (
                f"{one}: canary {rollout}"
            )

    def _check_slots(self, before: Cluster, name: ServiceName, each: change.Change) -> None:
        service = self.cluster.service(name)
        if service is None or service.deleted or before.service(name) is None:
            return
        old, new = slots.read(before, service), slots.read(self.cluster, service)
        allowed = bounds.bounds_of(service, len(new))
        assert all(len(slot.live) <= 2 for slot in new), f"three in a slot after {each}"
        successors, were = (sum(slot.successor is not None for slot in x) for x in (new, old))
        assert successors <= max(allowed.surge, were), f"above surge after {each}"
        available, was = (available_slots(c, x, self.now) for c, x in ((self.cluster, new), (before, old)))
        assert available >= min(was, allowed.floor), f"below the floor of {allowed.floor} after {each}"


def available_slots(cluster: Cluster, layout: slots.Layout, now: float) -> int:
    """Wanted slots with an available task."""
    return sum(any(cluster.is_available(task, now) for task in slot.live) for slot in layout)


def desired(cluster: Cluster) -> dict[TaskId, tuple[int, str, tuple[str, ...]]]:
    """What is wanted, without the words and times."""
    return {task.id: (task.revision, task.wanted, task.bound_to) for task in cluster.all_tasks()}


def decided_again(cluster: Cluster, name: ServiceName, now: float) -> list[Cluster]:
    """The picture after the whole decision, and after a crash at each of its changes and deciding anew."""
    whole = decide_service(cluster, name, now)
    pictures = [after(cluster, whole, now)]
    for length in range(len(whole)):
        crashed = after(cluster, whole[:length], now)
        pictures.append(after(crashed, decide_service(crashed, name, now), now))
    return pictures


def looked_on(cluster: Cluster, name: ServiceName, now: float) -> Cluster:
    """After a few more looks, while nothing else happens."""
    for _ in range(4):
        cluster = after(cluster, decide_service(cluster, name, now), now)
    return cluster
