"""One conversation per node: it greets, lives and reports; it is told all it needs to know.

Only the leader holds sessions; others send the node on. Nothing is sent before the picture is whole.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from controlplane.api import conversation, door, errors, registry, relay, statuses, telling
from controlplane.cluster import change
from controlplane.loop import clock, flow, liveness, picture, recorder
from controlplane.store import leadership
from orch import wire
from orch.model.event import EventType
from orch.model.names import TaskId
from orch.model.node import Facts
from orch.model.task import TaskState, TaskStatus, Wanted
from orch.model.traffic import RevisionTraffic
from orch.v1 import sessions_pb2 as pb

HELLO_SECONDS = 10.0
WHOLE_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    heartbeat_interval: float = 1.0
    timeout: float = 5.0


class Sessions:
    """The service `Sessions`."""

    def __init__(
        self,
        *,
        seen: picture.Picture,
        leader: leadership.Leadership,
        nodes: registry.Registry,
        writer: statuses.StatusWriter,
        teller: telling.Teller,
        heard: liveness.Liveness,
        told: recorder.Recorder,
        time: clock.Clock,
        timing: Timing,
        flow_: flow.Flow,
        images_at: str = "",
    ) -> None:
        """`images_at` is the host:port of the cluster's own image registry."""
        self._picture = seen
        self._leader = leader
        self._registry = nodes
        self._writer = writer
        self._teller = teller
        self._liveness = heard
        self._recorder = told
        self._clock = time
        self._timing = timing
        self._images_at = images_at
        self._flow = flow_
        self._sessions: dict[str, conversation.Conversation] = {}
        self.relay = relay.Relay(self.send)
        leader.listen(self._on_leadership)

    # ── what others ask ──────────────────────────────────────────────────────────────────────────────────

    def send(self, node: str, message: pb.SessionDown) -> bool:
        """A StreamAsk to the node; False when it is not connected."""
        session = self._sessions.get(node)
        return session is not None and session.ask(message.SerializeToString())

    def close(self) -> None:
        """End all sessions; the nodes come back to whoever leads."""
        for session in self._sessions.values():
            session.close()

    # ── the service ──────────────────────────────────────────────────────────────────────────────────────

    async def Session(self, requests: Any, context: Any) -> AsyncIterator[bytes]:  # noqa: N802  the name in the .proto
        """The conversation."""
        messages = aiter(requests)
        async with asyncio.timeout(HELLO_SECONDS):
            first = await anext(messages)
        hello = first.hello
        name = door.caller(context).name
        if first.WhichOneof("kind") != "hello" or hello.node != name:
            raise errors.Denied(f"a session begins with a hello from the node of the certificate, {name}")
        epoch = await self._wait_to_lead()
        if epoch is None:
            yield pb.SessionDown(redirect=pb.Redirect(address=self._leader_address())).SerializeToString()
            return
        session = await self._open(hello)
        reading = asyncio.create_task(self._read(session, messages), name=f"session of {name}")
        reading.add_done_callback(lambda _: session.close())
        try:
            yield self._welcome(epoch)
            self._teller.begin(session)
            async for message in session.messages(self._timing.heartbeat_interval):
                yield message
        finally:
            self._end(session)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def Answer(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  the name in the .proto
        """A node dials back for one StreamAsk."""
        async for message in self.relay.answer(requests, context):
            yield message

    # ── one session ──────────────────────────────────────────────────────────────────────────────────────

    async def _wait_to_lead(self) -> int | None:
        """Our epoch once the picture is whole; None when another leads, or nobody does for too long."""
        deadline = self._clock.steady() + WHOLE_SECONDS
        while self._clock.steady() < deadline:
            epoch = self._leader.epoch
            if epoch is None:
                return None
            if self._picture.is_whole_at(epoch) and self._picture.cluster.identity is not None:
                return epoch
            await self._picture.wait_change()
        return None

    async def _open(self, hello: Any) -> conversation.Conversation:
        session = conversation.Conversation(hello.node, hello.incarnation)
        session.problems = tuple(hello.problems)
        known = self._picture.cluster.node(hello.node)
        self._tell_problems(hello.node, known.status.problems if known else (), session.problems)
        before = self._sessions.get(hello.node)
        self._sessions[hello.node] = session
        if before is not None:
            before.close()
        self._liveness.hear(hello.node, self._clock.steady())
        await self._registry.greet(
            registry.Greeting(
                node=hello.node,
                incarnation=hello.incarnation,
                facts=wire.from_wire(hello.facts, Facts),
                labels=dict(hello.labels),
                problems=session.problems,
            )
        )
        said = tuple(wire.from_wire(each, TaskStatus) for each in hello.statuses)
        self._submit(session, (*said, *self._gone(hello, said)), sequence=0)
        log.info("%s is here (incarnation %d)", hello.node, hello.incarnation)
        return session

    def _gone(self, hello: Any, said: tuple[TaskStatus, ...]) -> list[TaskStatus]:
        """Tasks that were to stop, and of which the node knows nothing any more: they have stopped."""
        named = {status.id for status in said}
        cluster = self._picture.cluster
        return [
            self._vanished(task.id, hello)
            for task in cluster.tasks_on(hello.node)
            if task.wanted is Wanted.STOP and task.id not in named and not cluster.has_finished(task)
        ]

    def _vanished(self, task: TaskId, hello: Any) -> TaskStatus:
        known = self._picture.cluster.status(task)
        return TaskStatus(
            id=task,
            node=hello.node,
            state=TaskState.COMPLETE,
            incarnation=hello.incarnation,
            restarts=known.restarts if known else 0,
            reason="Gone",
            message=f"{hello.node} came back without it",
            finished_at=self._clock.now(),
        )

    def _end(self, session: conversation.Conversation) -> None:
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node]
        self._teller.end(session)

    async def _read(self, session: conversation.Conversation, messages: Any) -> None:
        """What the node says, until it says no more."""
        try:
            async for message in messages:
                self._liveness.hear(session.node, self._clock.steady())
                match message.WhichOneof("kind"):
                    case "heartbeat":
                        await self._on_problems(session, tuple(message.heartbeat.problems))
                        for each in message.heartbeat.happened:
                            self._on_event(session.node, each)
                    case "statuses":
                        batch = message.statuses
                        said = tuple(wire.from_wire(each, TaskStatus) for each in batch.statuses)
                        self._submit(session, said, batch.sequence)
                    case "traffic":
                        served = [wire.from_wire(each, RevisionTraffic) for each in message.traffic.revisions]
                        self._flow.take(served, message.traffic.unmeasured, self._clock.steady())
                    case "acknowledgement":
                        self._on_acknowledgement(session, message.acknowledgement)
        except Exception as error:
            log.info("session of %s ended: %s", session.node, error)

    def _submit(
        self, session: conversation.Conversation, said: tuple[TaskStatus, ...], sequence: int
    ) -> None:
        stored: Callable[[], None] = lambda: session.stored(sequence)  # noqa: E731  one line says it
        self._writer.submit(statuses.Report(session.node, said, stored))

    async def _on_problems(self, session: conversation.Conversation, problems: tuple[str, ...]) -> None:
        if problems != session.problems:
            self._tell_problems(session.node, session.problems, problems)
            session.problems = problems
            await self._registry.note_problems(session.node, problems)

    def _tell_problems(self, node: str, before: Sequence[str], now: Sequence[str]) -> None:
        """What is wrong with a node, and what is no more, are events."""
        for each in now:
            if each not in before:
                self._recorder.tell(change.Tell(EventType.WARNING, "NodeProblem", f"node/{node}", "", each))
        for each in before:
            if each not in now:
                words = f"no more: {each}"
                self._recorder.tell(
                    change.Tell(EventType.NORMAL, "NodeProblemOver", f"node/{node}", "", words)
                )

    def _on_event(self, node: str, event: pb.NodeEvent) -> None:
        self._recorder.tell(change.Tell(EventType.NORMAL, event.reason, f"node/{node}", "", event.message))

    def _on_acknowledgement(self, session: conversation.Conversation, said: Any) -> None:
        if not said.refusal:
            session.acknowledged[said.section] = said.version
            if said.section == "endpoints":
                self._teller.acknowledged(session)
            return
        if said.wants_whole:
            self._teller.begin_endpoints_again(session)
            return
        log.warning("%s refused its %s: %s", session.node, said.section, said.refusal)
        message = f"refused its {said.section}: {said.refusal}"
        self._recorder.tell(
            change.Tell(EventType.WARNING, "SectionRefused", f"node/{session.node}", "", message)
        )

    # ── leading or not ───────────────────────────────────────────────────────────────────────────────────

    def _welcome(self, epoch: int) -> bytes:
        stamp = self._teller.stamp(epoch)
        welcome = pb.Welcome(
            stamp=wire.to_wire(stamp),
            heartbeat_interval=self._timing.heartbeat_interval,
            timeout=self._timing.timeout,
            registry=self._images_at,
        )
        return pb.SessionDown(welcome=welcome).SerializeToString()

    def _leader_address(self) -> str:
        leader = self._leader.leader
        return leader.value.decode() if leader is not None else ""

    def _on_leadership(self) -> None:
        if self._leader.epoch is None:
            self.close()
