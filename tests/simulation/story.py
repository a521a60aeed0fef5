"""What happened, as lines: time, kind, what. Alike things at one time share a line."""

import asyncio
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from controlplane.cluster.snapshot import Cluster
from controlplane.loop import picture
from controlplane.store import keys, port
from orch.model.event import Event
from orch.model.names import ServiceName, TaskId
from orch.model.rollout import Rollout
from orch.model.task import Task, TaskState, TaskStatus, Wanted
from tests.simulation.world import ControlPlane, World

JOINED = ("create", "place", "ready", "unready", "crash", "stop", "end", "forget", "node")
"""Kinds of lines that several things share."""
ORDER = (
    "leader", "node", "crash", "failed", "rejected", "unready", "ready", "end",
    "rollout", "stop", "create", "place", "forget", "gone", "wait", "event",
)  # fmt: skip
"""What is seen, what follows from it, and why the rest does not happen."""
_NUMBERS = re.compile(r"\d+(\.\d+)?")


@dataclass
class Line:
    """Told at one time; `items` in order of name."""

    tenths: int
    kind: str
    items: list[str]
    words: str = ""
    """The same for all items."""


@dataclass
class Story:
    """`Story.of(world)` listens from then on; `text` is all of it."""

    world: World
    lines: list[Line] = field(default_factory=list)
    _waits: dict[str, str] = field(default_factory=dict)
    _leader: str = "nobody"
    _lives: dict[ServiceName, list[int]] = field(default_factory=dict)
    """Births of each service that had tasks."""

    @classmethod
    def of(cls, world: World) -> "Story":
        story = cls(world)
        world.observers.append(story.look)
        world.on_start = story.listen_to
        return story

    def text(self) -> str:
        return "".join(f"{row}\n" for line in _settled(self.lines) for row in _rows(line))

    def tell(self, kind: str, item: str, words: str = "") -> None:
        """Joined to the last line of this instant that says the same of others."""
        tenths = int(asyncio.get_running_loop().time() * 10 + 1e-6)
        for line in reversed(self.lines if kind in JOINED else ()):
            if line.tenths != tenths or line.kind == ">":
                break
            if (line.kind, line.words) == (kind, words):
                if item not in line.items:
                    line.items.append(item)
                    line.items.sort(key=_in_order)
                return
        self.lines.append(Line(tenths, kind, [item], words))

    # ── the store ────────────────────────────────────────────────────────────────────────────────────────

    def look(self, before: Cluster, after: Cluster, batch: port.Batch) -> None:
        """At one commit."""
        for event in batch.events:
            self._tell_of(event.key, before, after)

    def _tell_of(self, key: str, before: Cluster, after: Cluster) -> None:
        kind = key.removeprefix(keys.ROOT).partition("/")[0]
        match kind:
            case "tasks":
                self._tell_task(key, before, after)
            case "rollouts":
                service = ServiceName("default", key.rsplit("/", 1)[1])
                self._tell_rollout(before.rollout(service), after.rollout(service))
            case "nodes":
                self._tell_node(key.split("/")[3], before, after)
            case "services":
                name = ServiceName("default", key.rsplit("/", 1)[1])
                if after.service(name) is None:
                    self.tell("gone", str(name))
            case "events":
                found = self.world.truth.events.get(key)
                if found is not None:
                    self._tell_event(found)

    def _tell_task(self, key: str, before: Cluster, after: Cluster) -> None:
        owner, uid = ServiceName("default", key.split("/")[4]), key.split("/")[5]
        birth, slot, attempt = uid.split("-")
        identity = TaskId(*owner, int(birth, 16), int(slot), int(attempt))
        if key.endswith("/desired"):
            self._tell_wanted(identity, before.task(identity), after.task(identity))
        elif (said := after.status(identity)) is not None:
            self._tell_status(before.status(identity), said)

    def _tell_wanted(self, identity: TaskId, before: Task | None, after: Task | None) -> None:
        if after is None:
            self.tell("forget", self._at(identity))
            return
        if before is None:
            self.tell("create", self._at(identity), f"revision {after.revision}")
        if after.node and (before is None or not before.node):
            self.tell("place", self._at(identity, after.node))
        if after.wanted is Wanted.STOP and (before is None or before.wanted is Wanted.RUN):
            self.tell("stop", self._at(identity, after.node), after.cause)

    def _tell_status(self, before: TaskStatus | None, said: TaskStatus) -> None:
        where = self._at(said.id, said.node)
        why = ": ".join(word for word in (said.reason, said.message) if word)
        if said.state is TaskState.RUNNING and said.ready and not (before and before.ready):
            self.tell("ready", where)
        elif before is not None and said.restarts > before.restarts and before.ready and said.ready:
            self.tell("ready", where, "again, after a restart nobody could be told of")
        elif before is not None and before.ready and not said.ready and said.state <= TaskState.RUNNING:
            self.tell("unready", where)
        elif said.state is TaskState.BACKOFF and (before is None or before.order != said.order):
            self.tell("crash", where, why)
        elif said.state.is_final and not (before and before.state.is_final):
            kind = "end" if said.state is TaskState.COMPLETE else said.state.name.lower()
            self.tell(kind, where, why)

    def _tell_rollout(self, before: Rollout | None, after: Rollout | None) -> None:
        if after is None:
            return
        words = _rollout_words(after)
        if before is None or _rollout_words(before) != words:
            self.tell("rollout", f"{after.service}: {words}")

    def _tell_node(self, name: str, before: Cluster, after: Cluster) -> None:
        was, now = before.node(name), after.node(name)
        if now is None:
            if was is not None:
                self.tell("node", name, "removed")
            return
        if was is None or was.status.condition is not now.status.condition:
            reason = f" ({now.status.reason})" if now.status.reason and not now.is_ready else ""
            self.tell("node", name, f"{now.status.condition}{reason}")
        if was is not None and was.spec.availability is not now.spec.availability:
            self.tell("node", name, now.spec.availability)

    def _tell_event(self, event: Event) -> None:
        often = f" (×{event.count})" if event.count > 1 else ""
        sign = "!" if event.type == "Warning" else ""
        self.tell("event", f"{sign}{event.reason}{often}: {event.object}: {event.message}")

    def _at(self, task: TaskId, node: str = "") -> str:
        """`web.1.2@n1`; `web'.1.2` is of the service's second life."""
        lives = self._lives.setdefault(task.owner, [])
        if task.birth not in lives:
            lives.append(task.birth)
        name = f"{task.owner}{chr(39) * lives.index(task.birth)}.{task.slot}.{task.attempt}"
        return f"{name}@{node}" if node else name

    # ── the control planes ───────────────────────────────────────────────────────────────────────────────

    def listen_to(self, one: ControlPlane) -> None:
        """Who leads, and what waits."""

        def on_leadership() -> None:
            leader = self.world.leader()
            name = leader.name if leader else "nobody"
            if name != self._leader:
                self._leader = name
                self.tell("leader", name)

        def on_touched(touched: picture.Touched) -> None:
            if one.leads and not touched.keys:
                for name in sorted(touched.services):
                    self._tell_waits(one, name)

        one.core.leadership.listen(on_leadership)
        one.core.picture.listen(on_touched)

    def _tell_waits(self, one: ControlPlane, name: ServiceName) -> None:
        reasons = {str(subject): reason for subject, reason in one.core.driver.waiting_of(name).items()}
        prefix = f"{name}."
        for gone in [s for s in self._waits if (s == str(name) or s.startswith(prefix)) and s not in reasons]:
            del self._waits[gone]
        for subject, reason in reasons.items():
            plain = _NUMBERS.sub("#", reason) if subject != str(name) else reason
            if self._waits.get(subject) != plain:
                self._waits[subject] = plain
                self.tell("wait", subject, reason)


def _rollout_words(rollout: Rollout) -> str:
    steps = (
        f"{rollout.stable}" if rollout.stable == rollout.target else f"{rollout.stable} to {rollout.target}"
    )
    nodes = f" on {', '.join(rollout.nodes)}" if rollout.nodes else ""
    slots = f" in slots {', '.join(map(str, rollout.slots))}" if rollout.slots and not rollout.nodes else ""
    verdict = f"; {rollout.verdict}" if rollout.verdict else ""
    return f"{rollout.phase} {steps}{nodes}{slots}{verdict}"


def _settled(lines: list[Line]) -> Iterator[Line]:
    """Within one instant in the order of ORDER: who of several writers came first there is a matter of luck."""
    for _, alike in itertools.groupby(lines, lambda line: (line.tenths, line.kind == ">")):
        yield from sorted(alike, key=lambda line: ORDER.index(line.kind) if line.kind in ORDER else -1)


def _rows(line: Line) -> Iterator[str]:
    head = f"{line.tenths / 10:7.1f}  {line.kind:<8} "
    said = f": {line.words}" if line.words else ""
    if line.kind == ">":
        yield f"{line.tenths / 10:7.1f}  > {line.items[0]}"
        return
    yield f"{head}{' '.join(line.items)}{said}".rstrip()


def _in_order(item: str) -> list[tuple[int, str]]:
    """web.10.1 after web.9.1."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", item)]
