"""A control plane that says exactly what a test wants it to say, over real gRPC with real certificates."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from agent.identity import Credentials, Vault
from controlplane.api import authority
from orch import wire
from orch.identity import roles
from orch.model.assignment import (
    AssignedTask,
    AssignedTemplate,
    EndpointSection,
    File,
    FileSection,
    PeerSection,
    ServiceEndpoints,
    TaskSection,
)
from orch.model.cluster import Stamp
from orch.model.names import ServiceName, TaskId
from orch.model.service import TaskTemplate
from orch.model.task import TaskState, TaskStatus, Wanted
from orch.v1 import sessions_pb2 as pb
from orch.v1 import sessions_pb2_grpc

CLUSTER = "test"
BIRTH = 7


class ScriptedControlPlane(sessions_pb2_grpc.SessionsServicer):
    """Holds one node's session. Sections are stamped with a revision that only grows."""

    def __init__(self, directory: Path, node: str = "n1") -> None:
        self.node = node
        self.address = f"unix:{directory}/cp.sock"
        self.join_address = f"unix:{directory}/join.sock"
        self.renewals = 0
        self.authority = authority.found(CLUSTER, time.time())
        self.stamp = Stamp(CLUSTER, 1, 1, 1)
        self.hello: pb.Hello | None = None
        self.hellos = 0
        self.statuses: dict[TaskId, TaskStatus] = {}
        self.history: list[tuple[float, TaskStatus]] = []
        self.acknowledged: dict[str, list[pb.Acknowledgement]] = {}
        self.heartbeats = 0
        self.problems: tuple[str, ...] = ()
        """Of the last heartbeat."""
        self.stores = True
        self.batches = 0
        self.heartbeat_interval = 0.2
        self.redirect = ""
        self._version = 0
        self._changed = asyncio.Condition()
        self._down: asyncio.Queue[pb.SessionDown | None] | None = None
        self._server: grpc.aio.Server | None = None
        self._streams: dict[str, Stream] = {}
        self._resend: dict[str, pb.SessionDown] = {}

    # -- life

    async def start(self) -> None:
        self._server = grpc.aio.server()
        sessions_pb2_grpc.add_SessionsServicer_to_server(self, self._server)
        own = authority.issue(self.authority, roles.Caller("cp", roles.Role.SERVER), time.time())
        credentials = grpc.ssl_server_credentials(
            [(own.key, own.certificate)], self.authority.certificate, require_client_auth=True
        )
        self._server.add_secure_port(self.address, credentials)
        sessions_pb2_grpc.add_JoinServicer_to_server(_Joining(self), self._server)
        open_to_all = grpc.ssl_server_credentials([(own.key, own.certificate)])
        self._server.add_secure_port(self.join_address, open_to_all)
        await self._server.start()

    async def stop(self) -> None:
        if self._down is not None:
            self._down.put_nowait(None)
        if self._server is not None:
            await self._server.stop(None)
        self._server = None

    def credentials(self, at: float | None = None) -> Credentials:
        who = roles.Caller(self.node, roles.Role.NODE)
        own = authority.issue(self.authority, who, time.time() if at is None else at)
        ca, addresses = self.authority.certificate, (self.address,)
        return Credentials(own.key, own.certificate, ca, CLUSTER, addresses, self.join_address)

    def join(self, state_dir: Path, *, days_ago: float = 0.0) -> None:
        """As if the node had joined."""
        Vault(state_dir / "identity.json").save(self.credentials(time.time() - days_ago * 24 * 3600))

    # -- down

    def next_stamp(self) -> Stamp:
        self._version += 1
        self.stamp = Stamp(
            self.stamp.cluster, self.stamp.incarnation, self.stamp.epoch, self.stamp.revision + 1
        )
        return self.stamp

    def say(self, **kind: Any) -> None:
        """To the node, now and after each of its returns."""
        message = pb.SessionDown(**kind)
        name = message.WhichOneof("kind") or ""
        if name in {"tasks", "files", "endpoints", "peers"}:
            self._resend[name] = message
        if self._down is not None:
            self._down.put_nowait(message)

    def forget(self, name: str) -> Any:
        """Do not say this section again by itself; what it said."""
        return getattr(self._resend.pop(name), name)

    def give_range(self, subnet: str = "10.208.4.0/22") -> None:
        section = PeerSection(self.next_stamp(), self._version, (subnet,), "10.208.0.0/12", "10.224.0.0/16")
        self.say(peers=wire.to_wire(section))

    def give_files(self, *files: File) -> None:
        self.say(files=wire.to_wire(FileSection(self.next_stamp(), self._version, files)))

    def give_endpoints(self, *services: ServiceEndpoints) -> None:
        self.say(endpoints=wire.to_wire(EndpointSection(self.next_stamp(), self._version, services)))

    def assign(self, *tasks: tuple[TaskId, TaskTemplate] | tuple[TaskId, TaskTemplate, Wanted]) -> None:
        """Exactly these tasks."""
        assigned, templates = [], {}
        for number, (task, template, *wanted) in enumerate(tasks):
            revision = next((n for n, known in templates.items() if known[1] == template), number + 1)
            templates.setdefault(revision, (task, template))
            stops = wanted == [Wanted.STOP]  # no other node leads anybody to it
            assigned.append(AssignedTask(task, revision, *wanted or [Wanted.RUN], drained=stops))
        sent = [
            AssignedTemplate(owner, each.id.birth, each.revision, templates[each.revision][1])
            for each in assigned
            for owner in [ServiceName(each.id.namespace, each.id.service)]
        ]
        unique = tuple({(each.service, each.revision): each for each in sent}.values())
        section = TaskSection(self.next_stamp(), self._version, tuple(assigned), unique)
        self.say(tasks=wire.to_wire(section))

    # -- what tests wait for

    async def wait(self, condition: Callable[[], Any], seconds: float = 40.0) -> Any:
        """Until it holds; what it answered."""
        async with self._changed:
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait_for(condition)
            except TimeoutError:
                raise AssertionError(f"did not happen within {seconds} s; last: {self.describe()}") from None
        return condition()

    async def wait_state(self, task: TaskId, *states: TaskState, seconds: float = 40.0) -> TaskStatus:
        def reached() -> bool:
            status = self.statuses.get(task)
            return status is not None and status.state in states

        await self.wait(reached, seconds)
        return self.statuses[task]

    async def wait_status(
        self, task: TaskId, holds: Callable[[TaskStatus], bool], seconds: float = 40.0
    ) -> TaskStatus:
        def reached() -> bool:
            status = self.statuses.get(task)
            return status is not None and holds(status)

        await self.wait(reached, seconds)
        return self.statuses[task]

    async def wait_connected(self, hellos: int = 1) -> pb.Hello:
        await self.wait(lambda: self.hellos >= hellos)
        assert self.hello is not None
        return self.hello

    async def wait_problem(self, word: str) -> str:
        """What the node says is wrong, with this word in it."""
        await self.wait(lambda: any(word in each for each in self.problems))
        return next(each for each in self.problems if word in each)

    def describe(self) -> str:
        return "; ".join(f"{s.id} {s.state.name} {s.reason} {s.message}" for s in self.statuses.values())

    # -- streams

    async def ask(self, task: TaskId, **kind: Any) -> "Stream":
        """A stream that the node answers."""
        stream = Stream()
        identity = f"s{len(self._streams)}"
        self._streams[identity] = stream
        assert self._down is not None
        ask = pb.StreamAsk(id=identity, task=wire.to_wire(task), **kind)
        self._down.put_nowait(pb.SessionDown(ask=ask))
        return stream

    # -- the service

    async def Session(self, requests: Any, context: Any) -> AsyncIterator[pb.SessionDown]:  # noqa: N802  as in the .proto
        messages = aiter(requests)
        first = await anext(messages)
        if self.redirect:
            yield pb.SessionDown(redirect=pb.Redirect(address=self.redirect))
            return
        down: asyncio.Queue[pb.SessionDown | None] = asyncio.Queue()
        welcome = pb.Welcome(
            stamp=wire.to_wire(self.stamp), heartbeat_interval=self.heartbeat_interval, timeout=5
        )
        down.put_nowait(pb.SessionDown(welcome=welcome))
        for name in ("peers", "files", "tasks", "endpoints"):
            if name in self._resend:
                down.put_nowait(self._resend[name])
        self._down = down
        async with self._changed:
            self.hello = first.hello
            self.hellos += 1
            self._keep(first.hello.statuses)
            self._changed.notify_all()
        reading = asyncio.create_task(self._read(messages, down))
        try:
            while (message := await down.get()) is not None:
                yield message
        finally:
            reading.cancel()

    async def _read(self, messages: Any, down: Any) -> None:
        try:
            async for message in messages:
                async with self._changed:
                    self._hear(message, down)
                    self._changed.notify_all()
        finally:
            down.put_nowait(None)

    def _hear(self, message: Any, down: Any) -> None:
        match message.WhichOneof("kind"):
            case "heartbeat":
                self.heartbeats += 1
                self.problems = tuple(message.heartbeat.problems)
                down.put_nowait(pb.SessionDown(heartbeat=pb.Heartbeat(sequence=self.heartbeats)))
            case "statuses":
                self.batches += 1
                self._keep(message.statuses.statuses)
                if self.stores:
                    down.put_nowait(pb.SessionDown(statuses_stored=message.statuses.sequence))
            case "acknowledgement":
                said = message.acknowledgement
                self.acknowledged.setdefault(said.section, []).append(said)

    def _keep(self, statuses: Any) -> None:
        for each in statuses:
            status = wire.from_wire(each, TaskStatus)
            self.statuses[status.id] = status
            self.history.append((time.time(), status))

    async def Answer(self, requests: Any, context: Any) -> AsyncIterator[pb.AnswerDown]:  # noqa: N802  as in the .proto
        messages = aiter(requests)
        first = await anext(messages)
        stream = self._streams[first.id]
        reading = asyncio.create_task(stream.read(first, messages))
        try:
            while (message := await stream.down.get()) is not None:
                yield pb.AnswerDown(exec=message)
        finally:
            reading.cancel()


class _Joining(sessions_pb2_grpc.JoinServicer):
    """Gives everybody a certificate."""

    def __init__(self, plane: ScriptedControlPlane) -> None:
        self._plane = plane

    async def Join(self, request: pb.JoinRequest, _context: Any) -> pb.JoinReply:  # noqa: N802  the name in the .proto
        plane = self._plane
        who = roles.Caller(request.node, roles.Role.NODE)
        plane.renewals += bool(request.previous_certificate)
        return pb.JoinReply(
            certificate=authority.sign(plane.authority, request.request, who, time.time()),
            ca=plane.authority.certificate,
            addresses=[plane.address],
            cluster=CLUSTER,
        )


class Stream:
    """The user's side of logs or a command."""

    def __init__(self) -> None:
        self.down: asyncio.Queue[Any] = asyncio.Queue()
        self.up: asyncio.Queue[Any] = asyncio.Queue()

    async def read(self, first: Any, messages: Any) -> None:
        try:
            if first.WhichOneof("kind"):
                self.up.put_nowait(first)
            async for message in messages:
                self.up.put_nowait(message)
        finally:
            self.up.put_nowait(None)
            self.down.put_nowait(None)

    async def all(self, seconds: float = 40.0) -> list[Any]:
        """Until the node has no more."""
        found = []
        async with asyncio.timeout(seconds):
            while (message := await self.up.get()) is not None:
                found.append(message)
        return found
