"""Statuses on their way up."""

import asyncio

from agent.session.outbox import Outbox
from orch.model.names import TaskId
from orch.model.task import TaskState, TaskStatus


def a_status(state: TaskState, slot: int = 1) -> TaskStatus:
    return TaskStatus(TaskId("default", "web", 7, slot, 1), "n1", state)


def is_filled(outbox: Outbox) -> bool:
    waiting = outbox.wait_filled()
    try:
        waiting.send(None)
    except StopIteration:
        return True
    waiting.close()
    return False


async def test_the_latest_word_on_a_task_goes_out_at_once() -> None:
    outbox = Outbox()
    outbox.put(a_status(TaskState.RUNNING))
    outbox.put(a_status(TaskState.BACKOFF))
    outbox.put(a_status(TaskState.RUNNING, slot=2))

    assert is_filled(outbox)
    _, batch = outbox.take()
    assert [each.state for each in batch] == [TaskState.BACKOFF, TaskState.RUNNING]
    assert not is_filled(outbox)


async def test_a_step_on_the_way_is_told_when_it_lasts() -> None:
    outbox = Outbox()
    outbox.put(a_status(TaskState.PREPARING))

    assert not is_filled(outbox)
    await asyncio.wait_for(outbox.wait_filled(), 5)


async def test_what_was_not_stored_is_sent_again_unless_there_is_a_newer_word() -> None:
    outbox = Outbox()
    outbox.put(a_status(TaskState.RUNNING))
    first, _ = outbox.take()
    outbox.put(a_status(TaskState.RUNNING, slot=2))
    outbox.take()
    outbox.stored(first)
    outbox.put(a_status(TaskState.COMPLETE, slot=2))

    outbox.begin_anew()

    _, batch = outbox.take()
    assert [(each.id.slot, each.state) for each in batch] == [(2, TaskState.COMPLETE)]


async def test_the_next_batch_waits_for_the_last_to_be_stored() -> None:
    outbox = Outbox()
    outbox.put(a_status(TaskState.RUNNING))
    sequence, _ = outbox.take()
    waiting = asyncio.ensure_future(outbox.wait_stored())
    await asyncio.sleep(0)
    assert not waiting.done()

    outbox.stored(sequence)

    await asyncio.wait_for(waiting, 5)
