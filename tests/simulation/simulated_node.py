"""A node without a kernel: a real conversation with the control plane, and machines that follow a script.

It keeps the rules of the agent: older sections are refused, what a section does not name must not be there,
statuses are sent until they are stored, containers are restarted in place, a lost session changes nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from orch import wire
from orch.model.assignment import AssignedTask, TaskSection
from orch.model.cluster import Stamp
from orch.model.names import TaskId
from orch.model.node import Facts
from orch.model.policy import NodeLoss
from orch.model.service import TaskTemplate
from orch.model.task import TaskState, TaskStatus, Wanted
from orch.v1 import sessions_pb2 as pb
from tests.simulation.behaviour import Behaviour
from tests.simulation.line import Broken, Call, Handler, Line
from tests.simulation.machine import Run
from tests.simulation.virtual_time import VirtualClock

REDIAL_SECONDS = 0.3
HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 5.0
STORED_SECONDS = 5.0
CONTACT_LOOK_SECONDS = 0.5

Dial = Callable[[int], tuple[str, Handler] | None]
"""The how-manieth try → a control plane that could be reached."""


@dataclass(frozen=True)
class Certified:
    """What the door asks of a connection."""

    subject: str

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"ssl_tls_version": [b"TLSv1.3"], "x509_subject": [self.subject.encode()]}


@dataclass
class Watchers:
    """Who looks at a node from outside."""

    dropped: Callable[["Node", TaskId], None] = lambda _node, _task: None
    """The node was told that a task is not to run there (any more)."""
    moved: Callable[["Node", Run], None] = lambda _node, _run: None


@dataclass
class Node:
    """Up or down, connected or not."""

    name: str
    labels: dict[str, str]
    address: str
    line: Line
    dial: Dial
    behaviours: Mapping[str, Behaviour]
    watchers: Watchers
    cpu: int = 4_000
    memory: int = 4 << 30
    incarnation: int = 1
    runs: dict[TaskId, Run] = field(default_factory=dict)
    ledger: TaskSection | None = None
    """The newest tasks it was told of; kept over a loss of power."""
    subnet: str = ""
    endings: list[str] = field(default_factory=list)
    """How its conversations ended."""

    def __post_init__(self) -> None:
        self._clock = VirtualClock()
        self._jobs: list[asyncio.Task[None]] = []
        self._contact = self._clock.steady()
        self._before: dict[TaskId, TaskStatus] = {}
        """What ran when the power was lost."""
        self._unsent: dict[TaskId, TaskStatus] = {}
        self._news = asyncio.Event()
        self._stored = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return bool(self._jobs)

    # ── what happens to it ───────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Power on: what the ledger says is run again."""
        self._contact = self._clock.steady()
        self._jobs = [asyncio.create_task(self._converse()), asyncio.create_task(self._keep_alone())]
        if self.ledger is not None:
            self._follow(self.ledger, from_memory=True)

    def lose_power(self) -> None:
        """Everything ends, and nobody is told."""
        self.line.cut()
        for job in self._jobs:
            job.cancel()
        self._jobs = []
        for run in self.runs.values():
            run.kill()

    def come_back(self) -> None:
        """Power and line are there again."""
        self.line.drop_calls()
        self.line.mend()
        if not self.is_up:
            known, self.runs = self.runs, {}
            self.incarnation += 1
            self.runs = {task: run for task, run in known.items() if run.is_over}
            self._before = {task: run.status for task, run in known.items() if not run.is_over}
            self.start()

    def lose_memory(self) -> None:
        """Its disk is replaced while it has no power."""
        self.runs, self.ledger = {}, None

    def restart_agent(self) -> None:
        """The agent's process only: what runs goes on."""
        for job in self._jobs:
            job.cancel()
        self.line.drop_calls()
        self.incarnation += 1
        for run in self.runs.values():
            run.status = replace(run.status, incarnation=self.incarnation)
        self._jobs = [asyncio.create_task(self._converse()), asyncio.create_task(self._keep_alone())]

    def crash(self, task: TaskId) -> None:
        """Its container exits with 1."""
        self.runs[task].crashed.set()

    # ── the conversation ─────────────────────────────────────────────────────────────────────────────────

    async def _converse(self) -> None:
        attempt = 0
        while True:
            await self.line.whole.wait()
            reached = self.dial(attempt)
            attempt += 1
            if reached is not None:
                who = Certified(f"CN={self.name},O=orch:nodes")
                await self._talk(Call(self.line, *reached, who))
            await asyncio.sleep(REDIAL_SECONDS)

    async def _talk(self, call: Call) -> None:
        talking = [asyncio.create_task(self._beat(call)), asyncio.create_task(self._tell(call))]
        call.up.send(pb.SessionUp(hello=self._hello()))
        try:
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = await call.down.receive()
                self._contact = self._clock.steady()
                self._hear(pb.SessionDown.FromString(message), call)
        except (Broken, TimeoutError) as end:
            self.endings.append(str(end) or "silence")
        finally:
            for each in talking:
                each.cancel()
            if self.line.whole.is_set():
                call.server.cancel()

    def _hello(self) -> pb.Hello:
        hello = pb.Hello(node=self.name, incarnation=self.incarnation, labels=self.labels)
        facts = Facts(address=self.address, architecture="amd64", cpu=self.cpu, memory=self.memory)
        hello.facts.CopyFrom(wire.to_wire(facts))
        hello.statuses.extend(wire.to_wire(run.status) for run in self.runs.values())
        self._unsent.clear()
        return hello

    async def _beat(self, call: Call) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            call.up.send(pb.SessionUp(heartbeat=pb.Heartbeat()))

    async def _tell(self, call: Call) -> None:
        """One batch at a time is on its way."""
        sequence = 0
        while True:
            await self._news.wait()
            self._news.clear()
            said, self._unsent = self._unsent, {}
            if not said:
                continue
            sequence += 1
            batch = pb.StatusBatch(sequence=sequence, statuses=[wire.to_wire(each) for each in said.values()])
            self._stored.clear()
            call.up.send(pb.SessionUp(statuses=batch))
            try:
                async with asyncio.timeout(STORED_SECONDS):
                    await self._stored.wait()
            except TimeoutError:
                self._unsent = said | self._unsent
                self._news.set()

    def _hear(self, message: pb.SessionDown, call: Call) -> None:
        match message.WhichOneof("kind"):
            case "tasks":
                section = wire.from_wire(message.tasks, TaskSection)
                refusal = self._refusal(section.stamp, section.version)
                if not refusal:
                    self._follow(section)
                said = pb.Acknowledgement(section="tasks", version=section.version, refusal=refusal)
                call.up.send(pb.SessionUp(acknowledgement=said))
            case "endpoints":
                said = pb.Acknowledgement(section="endpoints", version=message.endpoints.version)
                call.up.send(pb.SessionUp(acknowledgement=said))
            case "peers":
                self.subnet = message.peers.subnets[0]
            case "statuses_stored":
                self._stored.set()

    def _refusal(self, stamp: Stamp, version: int) -> str:
        known = self.ledger
        if known is None:
            return ""
        if stamp.cluster != known.stamp.cluster:
            return "of another cluster"
        if (stamp.epoch, version) <= (known.stamp.epoch, known.version):
            return f"older than {known.version}"
        return ""

    # ── the tasks ────────────────────────────────────────────────────────────────────────────────────────

    def _follow(self, section: TaskSection, *, from_memory: bool = False) -> None:
        """As the section says, and nothing else. What may exist only once is not begun from memory."""
        self.ledger = section
        templates = {(each.service, each.birth, each.revision): each.template for each in section.templates}
        named = {each.id for each in section.tasks}
        for gone in [task for task in self.runs if task not in named]:
            run = self.runs[gone]
            if not run.is_over:
                self.watchers.dropped(self, gone)
                run.stop()
            if run.is_over:
                del self.runs[gone]
        for each in section.tasks:
            template = templates[each.id.owner, each.id.birth, each.revision]
            if not from_memory or template.on_node_loss.action is not NodeLoss.STOP_AFTER:
                self._follow_one(each, template)

    def _follow_one(self, each: AssignedTask, template: TaskTemplate) -> None:
        run = self.runs.get(each.id)
        if each.wanted is Wanted.STOP:
            if run is None:
                run = self._take(each.id, template)
            elif not run.is_over:
                self.watchers.dropped(self, each.id)
            run.stop()
        elif run is None:
            self._take(each.id, template).start()

    def _take(self, task: TaskId, template: TaskTemplate) -> Run:
        before = self._before.get(task)
        status = TaskStatus(
            task,
            self.name,
            TaskState.ASSIGNED,
            incarnation=self.incarnation,
            restarts=before.restarts + 1 if before else 0,
            addresses=(self._free_address(),),
        )
        behaviour = self.behaviours.get(template.containers[0].image, Behaviour())
        run = Run(
            task, template, behaviour, status, lambda said: self._say(run, said), self._clock, asyncio.Event()
        )
        self.runs[task] = run
        return run

    def _free_address(self) -> str:
        stem = self.subnet.rpartition(".")[0]
        taken = {run.status.addresses[0] for run in self.runs.values() if not run.is_over}
        return next(address for n in range(2, 250) if (address := f"{stem}.{n}") not in taken)

    def _say(self, run: Run, status: TaskStatus) -> None:
        self._unsent[status.id] = status
        self._news.set()
        self.watchers.moved(self, run)
        if run.is_over and self.ledger and all(each.id != run.id for each in self.ledger.tasks):
            self.runs.pop(run.id, None)

    async def _keep_alone(self) -> None:
        """A task that may not outlive the node's contact for long is stopped by the node itself."""
        while True:
            await asyncio.sleep(CONTACT_LOOK_SECONDS)
            alone = self._clock.steady() - self._contact
            for run in list(self.runs.values()):
                loss = run.template.on_node_loss
                if loss.action is NodeLoss.STOP_AFTER and alone > loss.stop_after:
                    run.stop("Alone")
