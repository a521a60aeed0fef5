"""Keeps one conversation with the leader going: greets, listens, tells, and begins again when it breaks."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio

from agent.session import endpoints
from agent.session.outbox import Outbox
from orch import wire
from orch.model.assignment import EndpointSection, FileSection, PeerSection, Section, TaskSection
from orch.v1 import sessions_pb2, sessions_pb2_grpc, values_pb2

_log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
"""Well below the five seconds after which a silent node is taken for gone."""
MOST_REDIRECTS = 5
"""In a row, before it is taken for a circle and pauses are made."""
WELCOME_SECONDS = 40.0
"""A leader that has just begun greets only when its picture is whole, after 30 s at the latest. One that
hangs is noticed sooner, by the channel's pings."""
STORED_SECONDS = 5.0
"""One batch of statuses is on its way at a time; after so long without a word the next is sent anyway."""
DEFAULT_HEARTBEAT_SECONDS = 1.0
DEFAULT_TIMEOUT_SECONDS = 5.0

_SECTIONS: dict[str, type[Any]] = {
    "tasks": TaskSection,
    "files": FileSection,
    "endpoints": EndpointSection,
    "peers": PeerSection,
}


class Duties(Protocol):
    """Who does what the control plane says."""

    def hello(self) -> sessions_pb2.Hello: ...
    def problems(self) -> Sequence[str]: ...
    def happened(self) -> Sequence[sessions_pb2.NodeEvent]:
        """What is to be told as events; told once."""

    async def traffic(self) -> sessions_pb2.Traffic | None:
        """HTTP requests since this was asked before; told once."""

    async def take(self, section: Section) -> str:
        """The refusal; empty when it was taken over."""

    def heard(self) -> None:
        """The control plane is there."""

    def images_are_at(self, address: str) -> None:
        """host:port of the cluster's own image registry; empty when there is none."""

    def answer(self, ask: sessions_pb2.StreamAsk, channel: grpc.aio.Channel) -> Awaitable[None]: ...
    def hung_up(self, identity: str) -> None:
        """The user of this stream has gone."""


@dataclass(slots=True)
class _Pace:
    """How often to say that we live, and how long a silence is too long."""

    heartbeat: float = DEFAULT_HEARTBEAT_SECONDS
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    is_beating: bool = False
    """The other side sends heartbeats, so its silence means something."""


class Conversation:
    def __init__(
        self,
        addresses: Sequence[str],
        connect: Callable[[str], grpc.aio.Channel],
        duties: Duties,
        outbox: Outbox,
    ) -> None:
        """`addresses` are of any control planes; whoever does not lead says who does."""
        self._addresses = list(addresses)
        self._connect = connect
        self._duties = duties
        self._outbox = outbox
        self._endpoints = endpoints.Whole()
        self._redirect = ""
        self.is_up = asyncio.Event()
        """Set while somebody has said welcome."""
        self.expelled = asyncio.Event()
        """Set when we were told that we do not belong to the cluster; who joins again clears it."""

    async def keep(self) -> None:
        """Until cancelled."""
        pause, redirects, turn = FIRST_PAUSE_SECONDS, 0, 0
        while True:
            address = self._redirect or self._addresses[turn % len(self._addresses)]
            self._redirect = ""
            welcomed = await self._try(address)
            _obey_cancellation()
            if self._redirect and redirects < MOST_REDIRECTS:
                redirects += 1
                continue
            pause = FIRST_PAUSE_SECONDS if welcomed else min(pause * 2, LONGEST_PAUSE_SECONDS)
            redirects, turn = 0, turn + 1
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter, no secret

    async def _try(self, address: str) -> bool:
        """Whether we were welcome."""
        channel = self._connect(address)
        try:
            await self._exchange(channel)
        except* (grpc.aio.AioRpcError, TimeoutError, _Over) as group:
            leaves = _leaves(group)
            _log.info("conversation with %s ended: %s", address, "; ".join(map(_words, leaves)))
            if any(map(_is_expulsion, leaves)):
                self.expelled.set()
        except* Exception:
            _log.exception("conversation with %s broke", address)
        finally:
            welcomed = self.is_up.is_set()
            self.is_up.clear()
            await channel.close()
        return welcomed

    async def _exchange(self, channel: grpc.aio.Channel) -> None:
        call = sessions_pb2_grpc.SessionsStub(channel).Session()
        up = _Up(call)
        pace = _Pace()
        await up.send(hello=self._duties.hello())
        self._outbox.begin_anew()
        async with asyncio.timeout(WELCOME_SECONDS):
            first = await self._read(call)
        self._greeted(first, pace)
        async with asyncio.TaskGroup() as group:
            takers = {kind: _Taker(kind, self._duties, up) for kind in _SECTIONS}
            for taker in takers.values():
                group.create_task(taker.keep())
            group.create_task(self._tell(up))
            group.create_task(self._live(up, pace))
            await self._listen(call, channel, takers, pace)

    def _greeted(self, first: sessions_pb2.SessionDown, pace: _Pace) -> None:
        match first.WhichOneof("kind"):
            case "welcome":
                pace.heartbeat = first.welcome.heartbeat_interval or pace.heartbeat
                pace.timeout = first.welcome.timeout or pace.timeout
                self.is_up.set()
                self._duties.heard()
                self._duties.images_are_at(first.welcome.registry)
            case "redirect":
                self._redirect = first.redirect.address
                raise _Over(f"it does not lead; {first.redirect.address or 'nobody'} does")
            case other:
                raise _Over(f"it began with {other} and not with a welcome")

    async def _read(self, call: Any) -> sessions_pb2.SessionDown:
        found = await call.read()
        if found is grpc.aio.EOF:
            raise _Over(f"it hung up: {await call.details() or await call.code()}")
        return found  # type: ignore[no-any-return]

    async def _listen(
        self, call: Any, channel: grpc.aio.Channel, takers: "dict[str, _Taker]", pace: _Pace
    ) -> None:
        answers: set[asyncio.Task[None]] = set()
        try:
            while True:
                async with asyncio.timeout(pace.timeout if pace.is_beating else None):
                    down = await self._read(call)
                self._duties.heard()
                match kind := down.WhichOneof("kind"):
                    case "tasks" | "files" | "peers":
                        takers[kind].give(wire.from_wire(getattr(down, kind), _SECTIONS[kind]))
                    case "endpoints":
                        await takers[kind].give_endpoints(down.endpoints, self._endpoints)
                    case "statuses_stored":
                        self._outbox.stored(down.statuses_stored)
                    case "heartbeat":
                        pace.is_beating = True
                    case "ask":
                        task = asyncio.ensure_future(self._duties.answer(down.ask, channel))
                        answers.add(task)
                        task.add_done_callback(answers.discard)
                    case "hung_up":
                        self._duties.hung_up(down.hung_up)
                    case "redirect":
                        self._redirect = down.redirect.address
                        raise _Over(f"it does not lead any more; {down.redirect.address or 'nobody'} does")
        finally:
            for task in answers:
                task.cancel()

    async def _tell(self, up: "_Up") -> None:
        while True:
            await self._outbox.wait_filled()
            sequence, batch = self._outbox.take()
            if batch:
                statuses = [wire.to_wire(status) for status in batch]
                await up.send(statuses=sessions_pb2.StatusBatch(sequence=sequence, statuses=statuses))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STORED_SECONDS):
                        await self._outbox.wait_stored()

    async def _live(self, up: "_Up", pace: _Pace) -> None:
        while True:
            await asyncio.sleep(pace.heartbeat)
            await up.beat(self._duties.problems(), self._duties.happened())
            if (traffic := await self._duties.traffic()) is not None:
                await up.send(traffic=traffic)


def _obey_cancellation() -> None:
    """A task group whose children fail while it is cancelled tells of them and forgets the cancellation."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Over(Exception):
    """The conversation has ended; the sentence says why."""


class _Up:
    """Our half of the stream. Messages of different kinds are not mixed: one is written at a time."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._turn = asyncio.Lock()
        self._sequence = 0

    async def send(self, **kind: Any) -> None:
        async with self._turn:
            try:
                await self._call.write(sessions_pb2.SessionUp(**kind))
            except asyncio.InvalidStateError:
                raise _Over("the stream is closed") from None

    async def beat(self, problems: Sequence[str], happened: Sequence[sessions_pb2.NodeEvent]) -> None:
        self._sequence += 1
        beat = sessions_pb2.Heartbeat(sequence=self._sequence, problems=problems, happened=happened)
        await self.send(heartbeat=beat)


class _Taker:
    """Takes over sections of one kind, one after the other; one that was overtaken is never taken."""

    def __init__(self, kind: str, duties: Duties, up: _Up) -> None:
        self._kind = kind
        self._duties = duties
        self._up = up
        self._latest: Section | None = None
        self._given = asyncio.Event()

    def give(self, section: Section) -> None:
        self._latest = section
        self._given.set()

    async def give_endpoints(self, said: values_pb2.EndpointSection, whole: endpoints.Whole) -> None:
        """Of what is a difference to something else the whole is asked for."""
        try:
            self.give(whole.take(said))
        except endpoints.NotTheBase as problem:
            _log.info("endpoints are asked for anew: %s", problem)
            answer = sessions_pb2.Acknowledgement(
                section=self._kind, version=said.version, refusal=str(problem), wants_whole=True
            )
            await self._up.send(acknowledgement=answer)

    async def keep(self) -> None:
        while True:
            await self._given.wait()
            self._given.clear()
            section, self._latest = self._latest, None
            if section is None:
                continue
            refusal = await self._duties.take(section)
            if refusal:
                _log.warning("%s of the control plane refused: %s", self._kind, refusal)
            said = sessions_pb2.Acknowledgement(section=self._kind, version=section.version, refusal=refusal)
            await self._up.send(acknowledgement=said)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found


def _is_expulsion(error: BaseException) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.PERMISSION_DENIED


def _words(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
