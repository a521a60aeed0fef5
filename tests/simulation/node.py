"""A simulated agent: a real conversation with the control plane, and tasks that are only said to run.

What becomes of a task is in its image: `web:1` gets ready, `web:broken` fails, `web:stuck` is never ready.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from controlplane.api.sessions import Sessions
from orch import wire
from orch.model.assignment import AssignedTask, TaskSection
from orch.model.names import TaskId
from orch.model.node import Facts
from orch.model.task import TaskState, TaskStatus, Wanted
from orch.v1 import sessions_pb2 as pb

START_SECONDS = 0.25
STOP_SECONDS = 0.25
HEARTBEAT_SECONDS = 1.0
REDIAL_SECONDS = 0.5


@dataclass(frozen=True)
class _Context:
    """What the door asks of a connection."""

    name: str

    def auth_context(self) -> dict[str, list[bytes]]:
        subject = f"CN={self.name},O=orch:nodes".encode()
        return {"ssl_tls_version": [b"TLSv1.3"], "x509_subject": [subject]}


@dataclass
class Node:
    """`live` while the node is up; `cut` and `mend` its line; what it runs goes on all the while."""

    name: str
    labels: dict[str, str]
    control_planes: list[Sessions]
    statuses: dict[TaskId, TaskStatus] = field(default_factory=dict)
    refusal: str = ""
    """Why the last session ended, when it did not end well."""
    _wanted: dict[TaskId, Wanted] = field(default_factory=dict)
    _images: dict[TaskId, str] = field(default_factory=dict)
    _up: asyncio.Queue[pb.SessionUp] | None = None
    _session: asyncio.Task[None] | None = None
    _whole: asyncio.Event = field(default_factory=asyncio.Event)
    _jobs: set[asyncio.Task[None]] = field(default_factory=set)
    _batches: int = 0

    async def live(self) -> None:
        """Dial whoever leads, again and again."""
        self._whole.set()
        try:
            while True:
                await self._whole.wait()
                for control_plane in list(self.control_planes):
                    self._session = asyncio.create_task(self._converse(control_plane))
                    await asyncio.wait({self._session})
                    if not self._session.cancelled():
                        self.refusal = str(self._session.exception() or "")
                await asyncio.sleep(REDIAL_SECONDS)
        finally:
            self.cut()

    def cut(self) -> None:
        """No word goes through, either way."""
        self._whole.clear()
        if self._session is not None:
            self._session.cancel()

    def mend(self) -> None:
        self._whole.set()

    def fail(self, task: TaskId, state: TaskState = TaskState.FAILED) -> None:
        """Something happens to it by itself."""
        self._say(task, state, reason="Crashed")

    # ── the conversation ─────────────────────────────────────────────────────────────────────────────────

    async def _converse(self, control_plane: Sessions) -> None:
        self._up = asyncio.Queue()
        hello = pb.Hello(node=self.name, incarnation=1, labels=self.labels)
        hello.facts.CopyFrom(
            wire.to_wire(Facts(address="192.0.2.1", architecture="amd64", cpu=4000, memory=2**32))
        )
        hello.statuses.extend(wire.to_wire(status) for status in self.statuses.values())
        self._up.put_nowait(pb.SessionUp(hello=hello))
        beating = asyncio.create_task(self._beat(self._up))
        try:
            messages = control_plane.Session(self._requests(self._up), _Context(self.name))
            async with aclosing(messages):
                async for message in messages:
                    down = pb.SessionDown.FromString(message)
                    if down.WhichOneof("kind") == "tasks":
                        self._take(wire.from_wire(down.tasks, TaskSection))
        finally:
            beating.cancel()
            self._up = None

    async def _requests(self, up: asyncio.Queue[pb.SessionUp]) -> AsyncIterator[pb.SessionUp]:
        while True:
            yield await up.get()

    async def _beat(self, up: asyncio.Queue[pb.SessionUp]) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            up.put_nowait(pb.SessionUp(heartbeat=pb.Heartbeat()))

    # ── the tasks ────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, section: TaskSection) -> None:
        images = {
            (each.service, each.birth, each.revision): each.template.containers[0].image
            for each in section.templates
        }
        told = {each.id: each for each in section.tasks}
        for gone in set(self._wanted) - set(told):
            del self._wanted[gone]
            self.statuses.pop(gone, None)
        for each in told.values():
            if self._wanted.get(each.id) is not each.wanted:
                self._wanted[each.id] = each.wanted
                self._do(each, images.get((each.id.owner, each.id.birth, each.revision), ""))

    def _do(self, task: AssignedTask, image: str) -> None:
        work = self._start(task.id, image) if task.wanted is Wanted.RUN else self._stop(task.id)
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _start(self, task: TaskId, image: str) -> None:
        await asyncio.sleep(START_SECONDS)
        if self._wanted.get(task) is not Wanted.RUN or task in self.statuses:
            return
        if image.endswith(":broken"):
            self._say(task, TaskState.FAILED, reason="CrashLoop", message="exited with 1")
        else:
            self._say(task, TaskState.RUNNING, ready=not image.endswith(":stuck"))

    async def _stop(self, task: TaskId) -> None:
        await asyncio.sleep(STOP_SECONDS)
        known = self.statuses.get(task)
        if task in self._wanted and (known is None or not known.state.is_final):
            self._say(task, TaskState.COMPLETE)

    def _say(self, task: TaskId, state: TaskState, *, ready: bool = False, **words: Any) -> None:
        before = self.statuses.get(task) or TaskStatus(task, self.name, state, incarnation=1)
        now = 1_000_000.0 + asyncio.get_running_loop().time()
        said = replace(
            before,
            state=state,
            ready=ready,
            ready_since=now if ready else 0.0,
            sequence=before.sequence + 1,
            finished_at=now if state.is_final else 0.0,
            addresses=(f"10.208.0.{task.slot}",),
            **words,
        )
        self.statuses[task] = said
        self._batches += 1
        if self._up is not None:
            batch = pb.StatusBatch(sequence=self._batches, statuses=[wire.to_wire(said)])
            self._up.put_nowait(pb.SessionUp(statuses=batch))
