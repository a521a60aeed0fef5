"""Leadership on the memory store, on a clock that tests move."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from controlplane.store import leadership, memory, port, timers


@asynccontextmanager
async def campaigning(store, name, clock):
    made = leadership.Leadership(store, name, clock=clock, ttl_seconds=6.0)
    running = asyncio.create_task(made.run())
    try:
        await spin()
        yield made
    finally:
        store.heal()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def clock():
    return timers.ManualTimers()


@pytest.fixture
async def store(clock):
    return memory.MemoryStore.fresh(clock)


async def test_the_first_leads_and_the_second_knows_who(store, clock):
    async with campaigning(store, b"one", clock) as one, campaigning(store.another(), b"two", clock) as two:
        entry, _ = await store.get(leadership.KEY)
        assert one.epoch == entry.created
        assert one.guard() == port.CreatedAt(leadership.KEY, entry.created)
        assert two.epoch is None
        assert one.leader == two.leader == leadership.Leader(b"one", entry.created)
        with pytest.raises(leadership.NotLeading):
            two.guard()


async def test_a_leader_keeps_its_lease_alive(store, clock):
    async with campaigning(store, b"one", clock) as one:
        epoch = one.epoch
        for _ in range(30):
            clock.advance(2.0)
            await spin()

        assert one.epoch == epoch


async def test_a_leader_that_is_cut_off_stops_by_its_own_clock_and_another_leads(store, clock):
    async with campaigning(store, b"one", clock) as one, campaigning(store.another(), b"two", clock) as two:
        guard = one.guard()
        store.cut()
        for _ in range(3):
            clock.advance(2.0)
            await spin()

        assert one.epoch is None
        assert two.leader is not None
        assert two.leader.value == b"two"
        store.faults.cut = False
        with pytest.raises(port.Conflict):
            await store.commit([guard], [port.Put("/x", b"too late")])


async def test_a_frozen_leader_knows_it_has_lost_before_any_callback_runs(store, clock):
    async with campaigning(store, b"one", clock) as one:
        clock._now += 6.0  # what waking from SIGSTOP looks like: time has passed and nothing has run yet

        with pytest.raises(leadership.NotLeading):
            one.guard()


async def test_a_leader_learns_from_the_store_that_its_lease_is_gone(store, clock):
    async with campaigning(store, b"one", clock) as one:
        heard: list[int | None] = []
        one.listen(lambda: heard.append(one.epoch))
        first = one.epoch
        entry, _ = await store.get(leadership.KEY)
        await store.revoke(entry.lease)
        await spin()

        assert heard[0] is None
        assert one.epoch is not None
        assert one.epoch > first


async def test_a_leader_that_steps_down_lets_the_other_lead_at_once(store, clock):
    async with campaigning(store, b"one", clock) as one, campaigning(store.another(), b"two", clock) as two:
        one.step_down()
        await spin()

        assert (one.epoch, two.epoch is not None) == (None, True)
        clock.advance(1.0)
        await spin()
        assert one.leader == two.leader


async def test_a_cancelled_leader_leaves_no_key_behind(store, clock):
    async with campaigning(store, b"one", clock):
        assert (await store.get(leadership.KEY))[0] is not None

    assert (await store.get(leadership.KEY))[0] is None


async def test_a_claim_whose_answer_is_lost_still_leads(store, clock):
    store.faults.lose_answers = 1

    async with campaigning(store, b"one", clock) as one:
        assert one.epoch is not None


async def test_a_store_that_cannot_be_reached_is_tried_again(store, clock):
    store.cut()
    async with campaigning(store, b"one", clock) as one:
        assert one.epoch is None
        store.heal()
        clock.advance(1.0)
        await spin()
        assert one.epoch is not None


async def spin() -> None:
    """Let every task that can go on do so."""
    for _ in range(50):
        await asyncio.sleep(0)
