"""Scripted agents: a node as the control plane sees it, without a kernel.

Joins with a token, keeps a session over real gRPC, and says of each task what a script says.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from grpc import aio, ssl_channel_credentials

from agent.session import endpoints
from orch import wire
from orch.identity import request as requests
from orch.identity import roles, token
from orch.model.names import TaskId
from orch.model.task import TaskState, TaskStatus
from orch.v1 import control_pb2, control_pb2_grpc, sessions_pb2_grpc
from orch.v1 import sessions_pb2 as pb

OPTIONS = (("grpc.ssl_target_name_override", roles.SERVER_NAME),)
WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Credential:
    """Certificate, key and authority, PEM."""

    certificate: bytes
    key: bytes
    ca: bytes

    def channel(self, address: str) -> aio.Channel:
        """A channel to a control plane."""
        credentials = ssl_channel_credentials(self.ca, self.key, self.certificate)
        return aio.secure_channel(address, credentials, options=OPTIONS)


async def join(
    address: str, ca: bytes, invitation: token.JoinToken | str, node: str, key: bytes | None = None
) -> Credential:
    """As `orch-agent --join` does."""
    key = key or requests.new_key()
    async with aio.secure_channel(address, ssl_channel_credentials(ca), options=OPTIONS) as channel:
        stub: Any = sessions_pb2_grpc.JoinStub(channel)
        request = requests.make(key, node)
        reply = await stub.Join(pb.JoinRequest(token=str(invitation), node=node, request=request))
    return Credential(reply.certificate, key, reply.ca)


def control(channel: aio.Channel) -> Any:
    """The user's stub."""
    return control_pb2_grpc.ControlStub(channel)


Script = Callable[[str, Any], list[tuple[TaskState, bool]]]
"""Wanted and the task's template → the states it goes through, each with whether it is ready."""


def runs_well(wanted: str, _template: Any) -> list[tuple[TaskState, bool]]:
    """Up at once; down at once when told."""
    return [(TaskState.RUNNING, True)] if wanted == "run" else [(TaskState.COMPLETE, False)]


@dataclass
class Agent:
    """One node."""

    name: str
    address: str
    credential: Credential
    script: Script = runs_well
    cpu: int = 4_000
    memory: int = 8 << 30
    incarnation: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    http_ports: tuple[int, int] = (80, 443)
    heartbeat_seconds: float = 0.2
    told: dict[str, Any] = field(default_factory=dict)
    """The newest of each section."""
    versions: dict[str, list[int]] = field(default_factory=dict)
    differences: list[int] = field(default_factory=list)
    """Of each section of endpoints: to which version it was the difference; 0 is a whole one."""
    said: dict[TaskId, TaskStatus] = field(default_factory=dict)
    redirects: list[str] = field(default_factory=list)
    asks: list[Any] = field(default_factory=list)
    welcomed: asyncio.Event = field(default_factory=asyncio.Event)
    on_tasks: Callable[[Any], None] | None = None
    mute: set[str] = field(default_factory=set)
    """Sections that are not acknowledged."""

    def __post_init__(self) -> None:
        self._up: asyncio.Queue[Any] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._endpoints = endpoints.Whole()
        self._sequence = itertools.count(1)
        self._batches = itertools.count(1)
        self._running: asyncio.Task[None] | None = None
        self.ended: str = ""
        self.stored = 0

    async def start(self) -> "Agent":
        """Returns when welcomed."""
        self._running = asyncio.create_task(self._run(), name=f"agent {self.name}")
        await asyncio.wait_for(self.welcomed.wait(), WAIT_SECONDS)
        return self

    async def stop(self) -> None:
        """As a machine that is cut off: without a word."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def wait_until(self, claim: Callable[["Agent"], bool]) -> None:
        """Until the claim is true of what the agent was told."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: claim(self)), WAIT_SECONDS)

    def tasks(self) -> list[Any]:
        """The assigned tasks as last told."""
        return list(self.told["tasks"].tasks) if "tasks" in self.told else []

    def say(self, *statuses: TaskStatus) -> None:
        """Report."""
        batch = pb.StatusBatch(
            sequence=next(self._batches), statuses=[wire.to_wire(each) for each in statuses]
        )
        self._up.put_nowait(pb.SessionUp(statuses=batch))

    def acknowledge(self, section: str) -> None:
        """The newest that was told."""
        said = pb.Acknowledgement(section=section, version=self.told[section].version)
        self._up.put_nowait(pb.SessionUp(acknowledgement=said))

    def want_whole(self) -> None:
        """Say that the last endpoints were the difference to something that is not here."""
        said = pb.Acknowledgement(section="endpoints", refusal="not the base", wants_whole=True)
        self._up.put_nowait(pb.SessionUp(acknowledgement=said))

    def status(self, task: TaskId, state: TaskState, *, ready: bool = False, **more: Any) -> TaskStatus:
        """A status as this node would report it now."""
        made = TaskStatus(
            id=task, node=self.name, state=state, incarnation=self.incarnation, sequence=next(self._sequence),
            ready=ready, addresses=("10.208.0.9",), **more,
        )  # fmt: skip
        self.said[task] = made
        return made

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        async with self.credential.channel(self.address) as channel:
            stub: Any = sessions_pb2_grpc.SessionsStub(channel)
            beating = asyncio.create_task(self._beat())
            try:
                async for message in stub.Session(self._say_up()):
                    await self._hear(message)
            except aio.AioRpcError as error:
                self.ended = error.details() or str(error.code())
            finally:
                beating.cancel()
                async with self._changed:
                    self._changed.notify_all()

    async def _say_up(self) -> AsyncIterator[Any]:
        facts = pb.Hello().facts
        facts.cpu, facts.memory, facts.address, facts.architecture = (
            self.cpu,
            self.memory,
            "192.0.2.1",
            "amd64",
        )
        facts.http_port, facts.https_port = self.http_ports
        yield pb.SessionUp(
            hello=pb.Hello(
                node=self.name, incarnation=self.incarnation, facts=facts, labels=self.labels,
                statuses=[wire.to_wire(each) for each in self.said.values()],
            )
        )  # fmt: skip
        while True:
            yield await self._up.get()

    async def _beat(self) -> None:
        for sequence in itertools.count(1):
            await asyncio.sleep(self.heartbeat_seconds)
            self._up.put_nowait(pb.SessionUp(heartbeat=pb.Heartbeat(sequence=sequence)))

    async def _hear(self, message: Any) -> None:
        kind = message.WhichOneof("kind")
        if kind in {"tasks", "files", "endpoints", "peers"}:
            section = getattr(message, kind)
            if kind == "endpoints":
                self.differences.append(section.base)
                section = wire.to_wire(self._endpoints.take(section))
            self.told[kind] = section
            self.versions.setdefault(kind, []).append(section.version)
            if kind not in self.mute:
                self.acknowledge(kind)
            if kind == "tasks":
                self._act(section)
        elif kind == "welcome":
            self.welcomed.set()
        elif kind == "redirect":
            self.redirects.append(message.redirect.address)
        elif kind == "ask":
            self.asks.append(message.ask)
        elif kind == "statuses_stored":
            self.stored = message.statuses_stored
        async with self._changed:
            self._changed.notify_all()

    def _act(self, section: Any) -> None:
        if self.on_tasks is not None:
            self.on_tasks(section)
        templates = {
            (each.service.name, each.birth, each.revision): each.template for each in section.templates
        }
        for task in section.tasks:
            identity = wire.from_wire(task.id, TaskId)
            template = templates.get((identity.service, identity.birth, task.revision))
            known = self.said.get(identity)
            if known is not None and known.state.is_final:
                continue
            steps = self.script(task.wanted, template)
            fresh = [
                step for step in steps if known is None or (step[0], step[1]) != (known.state, known.ready)
            ]
            if fresh and (known is None or steps[-1][0] > known.state):
                self.say(
                    *(self.status(identity, state, ready=ready, ready_since=1.0) for state, ready in fresh)
                )


async def answer_asks(agent: Agent, stub: Any, number: int) -> None:
    """What an agent does with a StreamAsk: `cat` for exec, two lines for logs."""
    for count in range(1, number + 1):
        await agent.wait_until(lambda it, count=count: len(it.asks) >= count)
        ask = agent.asks[count - 1]
        call = stub.Answer()
        if ask.WhichOneof("kind") == "logs":
            await call.write(pb.AnswerUp(id=ask.id))
            for text in (b"one", b"two"):
                await call.write(pb.AnswerUp(log=control_pb2.LogLine(text=text)))
        else:
            await call.write(pb.AnswerUp(id=ask.id))
            async for down in call:
                kind = down.exec.WhichOneof("kind")
                if kind == "stdin":
                    await call.write(pb.AnswerUp(exec=control_pb2.ExecOutput(stdout=down.exec.stdin)))
                elif kind == "stdin_closed":
                    break
            await call.write(pb.AnswerUp(exec=control_pb2.ExecOutput(end=control_pb2.ExecEnd(exit_code=0))))
        await call.done_writing()
