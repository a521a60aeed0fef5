"""The conversation with a scripted control plane, over real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from agent.session.conversation import Conversation
from agent.session.outbox import Outbox
from orch.model.assignment import Section, TaskSection
from orch.model.names import TaskId
from orch.model.task import TaskState, TaskStatus
from orch.v1 import sessions_pb2
from tests.agent import conftest
from tests.support.scripted import ScriptedControlPlane


class FakeDuties:
    """Takes everything, or refuses it with `refusal`."""

    def __init__(self) -> None:
        self.taken: list[Section] = []
        self.refusal = ""
        self.heard_times = 0
        self.requests: sessions_pb2.Traffic | None = None

    def hello(self) -> sessions_pb2.Hello:
        return sessions_pb2.Hello(node="n1", incarnation=5)

    async def traffic(self) -> sessions_pb2.Traffic | None:
        told, self.requests = self.requests, None
        return told

    def happened(self) -> Sequence[sessions_pb2.NodeEvent]:
        return [sessions_pb2.NodeEvent(reason="ImagesRemoved", message="one")]

    def problems(self) -> Sequence[str]:
        return ["disk almost full"]

    async def take(self, section: Section) -> str:
        self.taken.append(section)
        return self.refusal

    def images_are_at(self, address: str) -> None:
        self.images_at = address

    def heard(self) -> None:
        self.heard_times += 1

    async def answer(self, ask: sessions_pb2.StreamAsk, channel: grpc.aio.Channel) -> None:
        raise AssertionError("nobody asked")


@pytest.fixture
def duties() -> FakeDuties:
    return FakeDuties()


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@asynccontextmanager
async def talking(
    plane: ScriptedControlPlane, duties: FakeDuties, outbox: Outbox, *more: str
) -> AsyncIterator[asyncio.Task[None]]:
    """In the end the conversation must end, whatever it was doing."""
    credentials = plane.credentials()
    conversation = Conversation([*more, plane.address], credentials.connect, duties, outbox)
    task = asyncio.create_task(conversation.keep())
    try:
        yield task
    finally:
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=10)
        assert done
        assert task.cancelled()


def a_status(slot: int = 1) -> TaskStatus:
    return TaskStatus(TaskId("default", "web", 7, slot, 1), "n1", TaskState.RUNNING)


async def test_it_greets_lives_and_acknowledges(
    plane: ScriptedControlPlane, duties: FakeDuties, outbox: Outbox
) -> None:
    async with talking(plane, duties, outbox):
        hello = await plane.wait_connected()
        assert (hello.node, hello.incarnation) == ("n1", 5)
        plane.assign()
        await plane.wait(lambda: plane.acknowledged.get("tasks"))
        await plane.wait(lambda: plane.heartbeats >= 2)

    assert isinstance(duties.taken[0], TaskSection)
    assert plane.acknowledged["tasks"][0].version == duties.taken[0].version
    assert duties.heard_times >= 2


async def test_a_refusal_is_told(plane: ScriptedControlPlane, duties: FakeDuties, outbox: Outbox) -> None:
    duties.refusal = "it is older"
    async with talking(plane, duties, outbox):
        await plane.wait_connected()
        plane.assign()

        await plane.wait(lambda: plane.acknowledged.get("tasks"))

    assert plane.acknowledged["tasks"][0].refusal == "it is older"


async def test_what_was_not_stored_is_said_again_to_the_next_leader(
    plane: ScriptedControlPlane, duties: FakeDuties, outbox: Outbox
) -> None:
    plane.stores = False
    async with talking(plane, duties, outbox):
        await plane.wait_connected()
        outbox.put(a_status())
        await plane.wait(lambda: plane.batches == 1)
        await plane.stop()
        plane.statuses.clear()
        plane.stores = True

        await plane.start()

        await plane.wait_state(a_status().id, TaskState.RUNNING)


async def test_while_a_batch_is_being_stored_the_next_words_gather(
    plane: ScriptedControlPlane, duties: FakeDuties, outbox: Outbox
) -> None:
    plane.stores = False
    async with talking(plane, duties, outbox):
        await plane.wait_connected()
        outbox.put(a_status(1))
        await plane.wait(lambda: plane.batches == 1)
        for slot in range(2, 12):
            outbox.put(a_status(slot))
        await plane.wait(lambda: plane.heartbeats >= 2)
        assert plane.batches == 1

        plane.stores = True
        plane.say(statuses_stored=1)

        await plane.wait(lambda: len(plane.statuses) == 11)
        assert plane.batches == 2


async def test_an_address_where_nobody_is_does_not_hold_it_up(
    plane: ScriptedControlPlane, duties: FakeDuties, outbox: Outbox, tmp_path: Path
) -> None:
    async with talking(plane, duties, outbox, f"unix:{tmp_path}/nobody.sock"):
        await plane.wait_connected()


async def test_a_leader_that_steps_down_sends_it_on(
    plane: ScriptedControlPlane, duties: FakeDuties, outbox: Outbox, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with conftest.a_plane(other) as leader:
        leader.authority = plane.authority
        await leader.stop()
        await leader.start()
        async with talking(plane, duties, outbox):
            await plane.wait_connected()

            plane.say(redirect=sessions_pb2.Redirect(address=leader.address))

            await leader.wait_connected()


@pytest.mark.parametrize("attempt", range(3))
async def test_it_ends_when_told_also_in_the_middle_of_a_word(
    plane: ScriptedControlPlane, duties: FakeDuties, outbox: Outbox, attempt: int
) -> None:
    plane.heartbeat_interval = 1e-6
    async with talking(plane, duties, outbox):
        await plane.wait(lambda: plane.heartbeats >= 20 + attempt)


async def test_it_ends_when_told_also_if_something_breaks_on_the_way_out(
    plane: ScriptedControlPlane, outbox: Outbox
) -> None:
    taking = asyncio.Event()

    class Brittle(FakeDuties):
        async def take(self, section: Section) -> str:
            taking.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise OSError("broke on the way out") from None
            return ""

    async with talking(plane, Brittle(), outbox):
        await plane.wait_connected()
        plane.assign()
        await taking.wait()
