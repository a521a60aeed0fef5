"""What only a real etcd can prove: deaths, freezes, compaction, and a second client that sees the same."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from controlplane.store import etcd_channel, leadership, mirror, operator, port
from tests.support import campaigner, folds
from tests.support import etcd as etcd_support

pytestmark = [pytest.mark.etcd, etcd_support.needs_etcd]

BOUND_SECONDS = 30.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def server(tmp_path) -> AsyncIterator[etcd_support.Supervised]:
    async with etcd_support.running(tmp_path / "etcd", progress_seconds=1.0) as running:
        yield running


@pytest.fixture
async def store(server) -> AsyncIterator[port.Store]:
    async with etcd_support.connected(server.endpoint) as client:
        yield client


async def test_five_kills_under_a_writer_lose_nothing_repeat_nothing_and_keep_order(server, store):
    acknowledged: list[int] = []
    doubtful: set[int] = set()
    seen: list[port.Changed] = []
    stop, steps = asyncio.Event(), asyncio.Semaphore(0)

    async def write() -> int:
        number = 0
        while not stop.is_set():
            try:
                await store.commit(
                    [port.Absent(f"/w/{number:06}")], [port.Put(f"/w/{number:06}", b"x" * 100)]
                )
                acknowledged.append(number)
            except port.OutcomeUnknown:
                doubtful.add(number)
            except port.Unavailable:
                await asyncio.sleep(0.01)
            number += 1
        return await final_commit()

    async def final_commit() -> int:
        while True:
            with suppress(port.Unavailable, port.OutcomeUnknown):
                return await store.commit([], [port.Put("/w/~end", b"")])

    async def watch() -> None:
        async with aclosing(store.watch("/w/", 2)) as batches:
            async for batch in batches:
                seen.extend(batch.events)
                for _ in batch.events:
                    steps.release()
                if batch.events and batch.events[-1].key == "/w/~end":
                    return

    watching, writing = asyncio.create_task(watch()), asyncio.create_task(write())
    for _ in range(5):
        async with asyncio.timeout(BOUND_SECONDS):
            for _ in range(30):  # seen, so that the watch is connected again before the next blow
                await steps.acquire()
        await server.kill()
    stop.set()
    await asyncio.wait_for(writing, BOUND_SECONDS)
    await asyncio.wait_for(watching, BOUND_SECONDS)

    numbers = [int(event.key.removeprefix("/w/")) for event in seen[:-1]]
    assert numbers == sorted(set(numbers)), "twice or out of order"
    assert set(acknowledged) <= set(numbers), "an acknowledged write was missed"
    assert set(numbers) <= set(acknowledged) | doubtful
    listed = {entry.key: entry.modified for entry in (await store.list("/w/")).entries}
    assert listed == {event.key: event.modified for event in seen}


async def test_the_commit_of_a_leader_that_was_frozen_meanwhile_is_refused(server, store):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        campaigner.__file__,
        server.endpoint,
        "frozen",
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )

    async def ask() -> str:
        process.stdin.write(b"write\n")
        return await answer()

    async def answer() -> str:
        return (await asyncio.wait_for(process.stdout.readline(), BOUND_SECONDS)).decode().strip()

    us = leadership.Leadership(store, b"us", ttl_seconds=1.0)
    try:
        assert (await answer()).startswith("leads ")
        assert await ask() == "committed"
        leads = asyncio.Event()
        us.listen(lambda: leads.set() if us.epoch else None)
        campaign = asyncio.create_task(us.run())
        process.send_signal(signal.SIGSTOP)
        await asyncio.wait_for(leads.wait(), BOUND_SECONDS)
        process.send_signal(signal.SIGCONT)

        assert await ask() == "Conflict"
        assert us.epoch is not None
        await store.commit([us.guard()], [port.Put("/written-by", b"us")])
        campaign.cancel()
        await asyncio.gather(campaign, return_exceptions=True)
    finally:
        process.kill()
        await process.wait()


async def test_compaction_under_a_paused_watcher_makes_the_mirror_list_again(server, store):
    await store.commit([], [port.Put("/m/gone", b"1")])
    paused = etcd_support.Paused(store)
    fold = folds.Recorder()
    seen = mirror.Mirror(paused, "/m/", fold)
    running = asyncio.create_task(seen.run())
    try:
        await asyncio.wait_for(seen.wait_revision(1), BOUND_SECONDS)
        paused.gate.clear()
        await server.kill()
        for number in range(5):
            last = await retried(store, [port.Put(f"/m/{number}", b"2")])
        last = await retried(store, [port.Delete("/m/gone")])
        await store.compact(last)
        last = await retried(store, [port.Put("/m/last", b"3")])
        await store.compact(last)
        paused.gate.set()
        await asyncio.wait_for(seen.wait_revision(last), BOUND_SECONDS)

        assert sorted(fold.values) == ["/m/0", "/m/1", "/m/2", "/m/3", "/m/4", "/m/last"]
        assert await seen.compare() == ()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def retried(store, writes) -> int:
    """A harmless write, again until it is answered."""
    async with asyncio.timeout(BOUND_SECONDS):
        while True:
            try:
                return await store.commit([], writes)
            except (port.Unavailable, port.OutcomeUnknown):
                await asyncio.sleep(0.01)


async def test_an_idle_watch_hears_that_it_misses_nothing(store):
    revision = await store.commit([], [port.Put("/elsewhere", b"")])

    async with asyncio.timeout(BOUND_SECONDS), aclosing(store.watch("/w/", revision)) as batches:
        assert await anext(batches) == port.Batch(revision)


async def test_a_commit_to_a_dead_etcd_is_not_written(server, store):
    await store.commit([], [port.Put("/x", b"1")])
    await server.stop()

    with pytest.raises((port.Unavailable, port.OutcomeUnknown)):
        await store.commit([], [port.Put("/x", b"2")])
    with pytest.raises(port.Unavailable):
        await store.commit([], [port.Put("/x", b"2")])


async def test_what_we_write_etcd3_reads_and_the_other_way_round(server, store):
    connection = etcd_channel.Connection((server.endpoint,))
    revision = await store.commit([], [port.Put("/ours", b"1")])

    def with_the_other_client() -> tuple[bytes, int]:
        with operator.client(connection) as other:
            other.put("/theirs", b"2")
            value, about = other.get("/ours")
            return value, about.mod_revision

    assert await asyncio.to_thread(with_the_other_client) == (b"1", revision)
    entry, _ = await store.get("/theirs")
    assert entry == port.Entry("/theirs", b"2", revision + 1, revision + 1, 1)


async def test_etcd3_sees_our_guards_hold_and_our_leases(server, store):
    connection = etcd_channel.Connection((server.endpoint,))
    grant = await store.grant(60.0)
    created = await store.commit([], [port.Put("/leased", b"", lease=grant.id)])

    def with_the_other_client() -> tuple[list[bytes], bool]:
        with operator.client(connection) as other:
            keys = list(other.get_lease_info(grant.id).keys)
            compare = [other.transactions.create("/leased") == created]
            return keys, other.transaction(compare, [other.transactions.put("/leased", "new")], [])[0]

    assert await asyncio.to_thread(with_the_other_client) == ([b"/leased"], True)
    with pytest.raises(port.Conflict):
        await store.commit([port.Unchanged("/leased", created)], [port.Delete("/leased")])


async def test_the_operators_commands_work_on_the_unix_socket(server, store, tmp_path):
    connection = etcd_channel.Connection((server.endpoint,))
    for number in range(50):
        last = await store.commit([], [port.Put("/orch/x", b"%d" % number * 1000)])

    (status,) = await asyncio.to_thread(operator.status, connection)
    assert (status.leader, status.revision, status.alarms) == ("orch", last, ())
    assert status.size_bytes > 0
    (member,) = await asyncio.to_thread(operator.members, connection)
    assert member.name == "orch"
    assert await asyncio.to_thread(operator.compact, connection) == last
    await asyncio.to_thread(operator.defragment, connection)
    size = await asyncio.to_thread(operator.snapshot, connection, tmp_path / "snapshot.db")
    assert size == (tmp_path / "snapshot.db").stat().st_size > 10_000
    with pytest.raises(FileExistsError):
        await asyncio.to_thread(operator.snapshot, connection, tmp_path / "snapshot.db")
    with pytest.raises(port.Compacted):
        async with aclosing(store.watch("/orch/", 2)) as batches:
            await anext(batches)


async def test_the_operator_hears_that_etcd_is_away(server):
    connection = etcd_channel.Connection((server.endpoint,))
    await server.stop()

    with pytest.raises(port.Unavailable):
        await asyncio.to_thread(operator.members, connection)
