"""What must hold at every instant, whatever fails. Looks at each commit, and at the machines themselves."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import bounds, slots, wants
from controlplane.store import keys, port
from orch.model.names import ServiceName, TaskId
from orch.model.rollout import Phase
from orch.model.service import Service
from orch.model.task import Task, TaskStatus, Wanted
from tests.simulation.machine import Run
from tests.simulation.simulated_node import Node
from tests.simulation.virtual_time import VirtualClock
from tests.simulation.world import World

NEWS_SECONDS = 0.05
"""What a node said so recently may not have been known to whoever decided this commit."""


MOST_WRITES_PER_SECOND = 50
"""Of one key. More is somebody who is woken by what he writes."""


class Broken(AssertionError):
    """A sentence."""


@dataclass
class Law:
    """`Law.over(world)` watches from then on; `broken` are the sentences, in order."""

    world: World
    used: set[TaskId] = field(default_factory=set)
    available: dict[TaskId, tuple[float, float]] = field(default_factory=dict)
    """Since when each task is available, and when it was last seen so."""
    written: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often each key was written in each second."""
    broken: list[str] = field(default_factory=list)

    @classmethod
    def over(cls, world: World) -> "Law":
        law = cls(world)
        world.observers.append(law.look)
        world.watchers.dropped = law.dropped
        world.watchers.moved = law.moved
        world.on_request = law.asked
        return law

    def check(self) -> None:
        """Raises Broken."""
        if self.broken:
            raise Broken("\n".join(self.broken[:5]))

    def _say(self, sentence: str) -> None:
        at = asyncio.get_running_loop().time()
        self.broken.append(f"{at:.3f}s, revision {self.world.truth.cluster.revision}: {sentence}")

    def asked(self, name: str, guards: Sequence[port.Guard], writes: Sequence[port.Write]) -> None:
        """What only a leader writes carries the epoch it leads in: a deposed one can change nothing."""
        if any(isinstance(guard, port.CreatedAt) and guard.key == keys.LEADER for guard in guards):
            return
        for write in writes:
            if isinstance(write, port.Put) and write.key.startswith((keys.TASKS, keys.ROLLOUTS, keys.EVENTS)):
                self._say(f"{name} writes {write.key} without the proof that it leads")

    # ── the store ────────────────────────────────────────────────────────────────────────────────────────

    def look(self, before: Cluster, after: Cluster, batch: port.Batch) -> None:
        """At one commit."""
        second = int(asyncio.get_running_loop().time())
        for event in batch.events:
            self.written[event.key, second] += 1
            if self.written[event.key, second] == MOST_WRITES_PER_SECOND:
                self._say(f"{event.key} is written in a circle")
        if not any(
            event.key.startswith((keys.TASKS, keys.SERVICES, keys.ROLLOUTS, keys.NODES))
            for event in batch.events
        ):
            return
        self._note_available(before)
        changed = [task for task in after.all_tasks() if before.task(task.id) is not task]
        for task in changed:
            self._look_at_task(before, after, task)
        for status in after.statuses.values():
            if (known := before.status(status.id)) is not status:
                self._look_at_status(known, status)
        for name in {task.id.owner for task in changed}:
            self._look_at_service(before, after, name)
        for node in {task.node for task in changed if task.node}:
            self._look_at_node(after, node)

    def _note_available(self, before: Cluster) -> None:
        now = VirtualClock().now()
        for task in before.all_tasks():
            at = before.available_at(task)
            if at is not None and at <= now:
                since, until = self.available.get(task.id, (now, now))
                is_new = now - until > NEWS_SECONDS
                self.available[task.id] = (max(now if is_new else since, at), now)

    def _look_at_task(self, before: Cluster, after: Cluster, task: Task) -> None:
        known = before.task(task.id)
        if known is None:
            if task.id in self.used:
                self._say(f"the uid of {task.id} is used twice")
            self.used.add(task.id)
            return
        if known.wanted is Wanted.STOP and task.wanted is Wanted.RUN:
            self._say(f"{task.id} was to stop and is to run again")
        if known.node and known.node != task.node:
            self._say(f"{task.id} moved from {known.node} to {task.node}")
        if task.node and not known.node:
            self._look_at_place(before, after, task)

    def _look_at_place(self, before: Cluster, after: Cluster, task: Task) -> None:
        node = before.node(task.node)
        if node is None:
            self._say(f"{task.id} is placed on {task.node}, which is not there")
            return
        if node.spec.availability != "active":
            self._say(f"{task.id} is placed on {task.node}, which is {node.spec.availability}")
        rollout, service = after.rollout(task.id.owner), after.service(task.id.owner)
        if rollout is None or service is None or not rollout.nodes or rollout.phase is not Phase.CANARY:
            return
        usable = {name for name in rollout.nodes if wants.is_usable(after.node(name), service)}
        if (task.revision == rollout.target) != (task.node in usable):
            self._say(
                f"{task.id} of revision {task.revision} on {task.node}, and the canary is {rollout.nodes}"
            )

    def _look_at_status(self, known: TaskStatus | None, said: TaskStatus) -> None:
        if known is None:
            return
        if said.order < known.order:
            self._say(f"{said.id} went back from {known.order} to {said.order}")
        if known.state.is_final:
            self._say(f"{said.id} was {known.state.name} and is {said.state.name}")

    def _look_at_service(self, before: Cluster, after: Cluster, name: ServiceName) -> None:
        service = after.service(name)
        if service is None or service.deleted or (was := before.service(name)) is None:
            return
        if was.birth != service.birth or was.spec != service.spec:
            return
        old, new = slots.read(before, service), slots.read(after, service)
        for slot in new:
            if len(slot.live) > 2:
                self._say(f"{len(slot.live)} tasks in slot {slot.number} of {name}")
        allowed = bounds.bounds_of(service, len(new))
        successors, were = (sum(slot.successor is not None for slot in layout) for layout in (new, old))
        if successors > max(allowed.surge, were):
            self._say(f"{name} has {successors} successors; maxSurge allows {allowed.surge}")
        available = sum(any(map(self._may_be_available, s.live)) for s in new)
        was_available = sum(any(map(self._is_known_available, s.live)) for s in old)
        if available < min(was_available, allowed.floor):
            self._say(f"{name} has {available} available, had {was_available}; the floor is {allowed.floor}")

    def _may_be_available(self, task: Task) -> bool:
        """It is, or nobody may have heard yet that it is not."""
        cluster, now = self.world.truth.cluster, VirtualClock().now()
        _, until = self.available.get(task.id, (0.0, 0.0))
        is_news = now - until < NEWS_SECONDS and not cluster.is_lost(task)
        return cluster.is_live(task) and (is_news or cluster.is_available(task, now))

    def _is_known_available(self, task: Task) -> bool:
        """For so long that everybody must have heard of it."""
        now = VirtualClock().now()
        since, until = self.available.get(task.id, (now, 0.0))
        return now - since > NEWS_SECONDS and now == until

    def _look_at_node(self, after: Cluster, name: str) -> None:
        node = after.node(name)
        if node is not None and not after.allocated_on(name).fits_in(node.capacity):
            self._say(f"{name} is given {after.allocated_on(name)}, and has {node.capacity}")

    # ── the machines ─────────────────────────────────────────────────────────────────────────────────────

    def dropped(self, node: Node, task: TaskId) -> None:
        """No agent is told to stop what the store wants to run there."""
        cluster = self.world.truth.cluster
        wanted = cluster.task(task)
        if wanted is None or wanted.wanted is Wanted.STOP or wanted.node != node.name:
            return
        if not cluster.has_finished(wanted):
            self._say(f"{node.name} was told to drop {task}, which is to run there")

    def moved(self, node: Node, run: Run) -> None:
        """Two tasks never have one address; what may exist only once exists once."""
        running = [
            (other, each)
            for other in self.world.nodes.values()
            if other.is_up
            for each in other.runs.values()
            if each.may_run
        ]
        addresses = [each.status.addresses[0] for _, each in running]
        if len(set(addresses)) < len(addresses):
            self._say(f"an address is there twice: {sorted(addresses)}")
        service = self.world.truth.cluster.service(run.id.owner)
        if service is not None and bounds.is_exclusive(service.spec):
            alike = [
                each.id
                for _, each in running
                if each.id.owner == run.id.owner and each.id.slot == run.id.slot
            ]
            if len(alike) > 1:
                self._say(f"more than one of {run.id.name} runs: {alike}")


def unmet(world: World) -> list[str]:
    """What was asked for and is not there, when everything has come to rest."""
    cluster = world.truth.cluster
    found = [sentence for service in cluster.services.values() for sentence in _unmet(cluster, service)]
    wanted = {task.id: task.node for task in cluster.all_tasks() if cluster.is_live(task)}
    running = {
        run.id: node.name
        for node in world.nodes.values()
        if node.is_up
        for run in node.runs.values()
        if run.may_run
    }
    found += [
        f"{task} is to run on {node or 'no node'} and does not"
        for task, node in wanted.items()
        if running.get(task) != node
    ]
    found += [
        f"{task} runs on {node} and nobody knows why" for task, node in running.items() if task not in wanted
    ]
    return found


def _unmet(cluster: Cluster, service: Service) -> list[str]:
    if service.deleted:
        return [f"{service.name} is deleted and still there"]
    rollout = cluster.rollout(service.name)
    if rollout is None or rollout.phase is not Phase.DONE or rollout.target != service.revision:
        return [f"{service.name} is asked to be at revision {service.revision}, and its rollout is {rollout}"]
    layout = slots.read(cluster, service)
    found = [f"{task.id} is too many" for task in layout.surplus]
    for slot in layout:
        tasks = slot.live
        if len(tasks) != 1 or tasks[0].revision != service.revision or not cluster.is_ready(tasks[0]):
            found.append(f"slot {slot.number} of {service.name} has {tasks}")
    return found
