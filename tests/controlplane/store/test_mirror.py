"""The mirror on the memory store, faults and all."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from controlplane.store import comparison, memory, mirror, port, timers
from tests.support import folds

BOUND_SECONDS = 5.0


@asynccontextmanager
async def mirrored(store, clock=None, **options):
    fold = folds.Recorder()
    made = mirror.Mirror(store, "/m/", fold, clock=clock, **options)
    running = asyncio.create_task(made.run())
    try:
        await asyncio.wait_for(made.wait_revision(1), BOUND_SECONDS)
        yield made, fold
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def store():
    return memory.MemoryStore.fresh()


async def test_a_mirror_holds_what_was_there_and_what_comes(store):
    await store.commit([], [port.Put("/m/old", b"1"), port.Put("/elsewhere", b"")])

    async with mirrored(store) as (seen, fold):
        await store.commit([], [port.Put("/m/new", b"2")])
        await seen.wait_revision(await store.commit([], [port.Delete("/m/old")]))

        assert fold.values == {"/m/new": b"2"}
        assert fold.replaced == 1


async def test_before_the_first_list_a_mirror_is_not_complete(store):
    seen = mirror.Mirror(store, "/m/", folds.Recorder())

    assert not seen.is_complete
    assert seen.lag_seconds is None


async def test_listeners_hear_of_every_batch(store):
    async with mirrored(store) as (seen, _):
        heard: list[int] = []
        stop = seen.listen(lambda: heard.append(seen.revision))
        first = await store.commit([], [port.Put("/m/1", b"")])
        second = await store.commit([], [port.Put("/m/2", b"")])
        await seen.wait_revision(second)
        stop()
        await seen.wait_revision(await store.commit([], [port.Put("/m/3", b"")]))

        assert heard == [first, second]


async def test_a_cut_off_mirror_misses_nothing_when_it_is_back(store):
    async with mirrored(store) as (seen, fold):
        other = store.another()
        store.cut()
        for number in range(5):
            last = await other.commit([], [port.Put(f"/m/{number}", b"")])
        assert fold.values == {}
        store.heal()
        await asyncio.wait_for(seen.wait_revision(last), BOUND_SECONDS)

        assert [event.key for event in fold.events] == [f"/m/{number}" for number in range(5)]
        assert fold.replaced == 1


async def test_compaction_under_a_paused_mirror_makes_it_list_again(store):
    await store.commit([], [port.Put("/m/gone", b"")])
    async with mirrored(store) as (seen, fold):
        other = store.another()
        store.cut()
        await other.commit([], [port.Delete("/m/gone")])
        last = await other.commit([], [port.Put("/m/new", b"")])
        store.data.compact()
        last = await other.commit([], [port.Put("/m/newer", b"")])
        store.data.compact()
        store.heal()
        await asyncio.wait_for(seen.wait_revision(last), BOUND_SECONDS)

        assert sorted(fold.values) == ["/m/new", "/m/newer"]
        assert fold.replaced == 2


@pytest.mark.parametrize("write", [port.Put("/m/x", b"2"), port.Delete("/m/x"), port.Put("/m/y", b"")])
async def test_a_dropped_event_is_found_and_repaired_by_comparison(store, write):
    await store.commit([], [port.Put("/m/x", b"1")])
    async with mirrored(store, settle_seconds=0.0) as (seen, fold):
        store.faults.drop_event = lambda event: event.key == write.key
        await store.commit([], [write])
        after = await store.commit([], [port.Put("/m/after", b"")])
        await seen.wait_revision(after)
        wrong = dict(fold.values)

        relisted = asyncio.Event()
        seen.listen(relisted.set)
        assert await seen.compare() == (write.key,)
        await asyncio.wait_for(relisted.wait(), BOUND_SECONDS)

        truth = {entry.key: entry.value for entry in (await store.list("/m/")).entries}
        assert wrong != truth
        assert fold.values == truth
        assert seen.repairs == 1
        assert await seen.compare() == ()


async def test_the_comparison_comes_by_itself(store):
    clock = timers.ManualTimers()
    async with mirrored(store, clock, compare_every_seconds=60.0, settle_seconds=2.0) as (seen, fold):
        store.faults.drop_event = lambda event: True
        await store.commit([], [port.Put("/m/x", b"1")])
        await spin()
        store.faults.drop_event = None
        for _ in range(3):
            clock.advance(30.0)
            await spin()

        assert fold.values == {"/m/x": b"1"}
        assert seen.repairs == 1


async def test_an_event_under_way_is_not_taken_for_lost(store):
    clock = timers.ManualTimers()
    async with mirrored(store, clock, settle_seconds=2.0) as (seen, fold):

        async def settle() -> None:
            await spin()
            clock.advance(2.0)

        settling = asyncio.create_task(settle())
        await store.commit([], [port.Put("/m/x", b"1")])  # the watch has not had its turn yet

        assert await seen.compare() == ()
        assert clock.time() == 2.0, "nothing was suspected"
        assert fold.replaced == 1
        await settling


async def test_lag_is_the_time_since_the_store_spoke(store):
    clock = timers.ManualTimers()
    async with mirrored(store, clock) as (seen, _):
        clock.advance(7.0)
        assert seen.lag_seconds == 7.0
        await seen.wait_revision(await store.commit([], [port.Put("/m/x", b"")]))
        assert seen.lag_seconds == 0.0


def test_a_mirror_ahead_of_the_list_is_not_suspected():
    listing = port.Listing((port.Entry("/a", b"", 1, 5, 1),), revision=6)

    assert comparison.differences({"/a": 7, "/new": 8}, listing) == {}
    assert comparison.differences({"/a": 4, "/dead": 6}, listing) == {"/a": (4, 5), "/dead": (6, 0)}
    assert comparison.differences({}, listing) == {"/a": (0, 5)}


async def spin() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)
