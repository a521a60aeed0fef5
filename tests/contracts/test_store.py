"""What every store keeps to, whichever it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from controlplane.store import memory, port
from tests.support import etcd as etcd_support

BOUND_SECONDS = 10.0


@pytest.fixture(params=["memory", pytest.param("etcd", marks=[pytest.mark.etcd, etcd_support.needs_etcd])])
async def store(request, tmp_path) -> AsyncIterator[port.Store]:
    if request.param == "memory":
        yield memory.MemoryStore.fresh()
        return
    async with (
        etcd_support.running(tmp_path / "etcd") as server,
        etcd_support.connected(server.endpoint) as client,
    ):
        yield client


async def events_of(store: port.Store, prefix: str, start: int, count: int) -> list[port.Event]:
    """The next `count` events; fails when they do not come."""
    seen: list[port.Event] = []
    async with asyncio.timeout(BOUND_SECONDS), aclosing(store.watch(prefix, start)) as batches:
        async for batch in batches:
            assert all(event.modified <= batch.revision for event in batch.events)
            seen.extend(batch.events)
            if len(seen) >= count:
                return seen
    raise AssertionError("the watch ended")


async def test_what_was_put_is_read_back_with_its_revisions(store):
    created = await store.commit([], [port.Put("/a/x", b"1")])
    changed = await store.commit([], [port.Put("/a/x", b"2")])

    entry, revision = await store.get("/a/x")

    assert entry == port.Entry("/a/x", b"2", created=created, modified=changed, version=2)
    assert revision == changed == created + 1


async def test_a_key_that_was_never_written_is_none(store):
    assert (await store.get("/nothing"))[0] is None


async def test_a_key_made_again_has_a_new_create_revision(store):
    first = await store.commit([], [port.Put("/x", b"1")])
    await store.commit([], [port.Delete("/x")])
    second = await store.commit([], [port.Put("/x", b"1")])

    entry, _ = await store.get("/x")

    assert entry is not None
    assert (entry.created, entry.version) == (second, 1)
    assert second > first


async def test_a_listing_holds_the_prefix_and_nothing_else_in_order(store):
    await store.commit([], [port.Put(key, key.encode()) for key in ("/a0", "/a/2", "/a/1", "/b/1", "/a")])

    listing = await store.list("/a/")

    assert [entry.key for entry in listing.entries] == ["/a/1", "/a/2"]
    assert [entry.key for entry in (await store.list("")).entries] == ["/a", "/a/1", "/a/2", "/a0", "/b/1"]


async def test_a_listing_of_many_keys_is_whole_and_of_one_revision(store):
    names = [f"/many/{number:05}" for number in range(1300)]
    for first in range(0, len(names), 100):
        last = await store.commit([], [port.Put(name, b"v" * 50) for name in names[first : first + 100]])

    listing = await store.list("/many/")

    assert [entry.key for entry in listing.entries] == names
    assert listing.revision == last


async def test_a_listing_without_values_still_has_revisions(store):
    revision = await store.commit([], [port.Put("/x", b"1")])

    (entry,) = (await store.list("/x", values=False)).entries

    assert (entry.key, entry.value, entry.modified) == ("/x", b"", revision)


async def test_all_writes_of_a_commit_share_a_revision(store):
    await store.commit([], [port.Put("/old", b"")])
    revision = await store.commit([], [port.Put("/1", b""), port.Put("/2", b""), port.Delete("/old")])

    listing = await store.list("/")

    assert [(entry.key, entry.modified) for entry in listing.entries] == [("/1", revision), ("/2", revision)]


async def test_a_commit_that_changes_nothing_makes_no_revision(store):
    before = await store.commit([], [port.Put("/x", b"")])

    assert await store.commit([port.Present("/x")], [port.Delete("/absent")]) == before


@pytest.mark.parametrize("holding", [True, False])
@pytest.mark.parametrize("kind", ["absent", "present", "unchanged", "created"])
async def test_a_guard_decides_whether_anything_is_written(store, kind, holding):
    created = await store.commit([], [port.Put("/there", b"")])
    changed = await store.commit([], [port.Put("/there", b"")])
    guard = {
        ("absent", True): port.Absent("/not-there"),
        ("absent", False): port.Absent("/there"),
        ("present", True): port.Present("/there"),
        ("present", False): port.Present("/not-there"),
        ("unchanged", True): port.Unchanged("/there", changed),
        ("unchanged", False): port.Unchanged("/there", created),
        ("created", True): port.CreatedAt("/there", created),
        ("created", False): port.CreatedAt("/there", changed),
    }[kind, holding]
    writes = [port.Put("/result", b""), port.Delete("/there")]

    if holding:
        await store.commit([port.Absent("/result"), guard], writes)
    else:
        with pytest.raises(port.Conflict) as conflict:
            await store.commit([port.Absent("/result"), guard], writes)
        assert conflict.value.failed == guard

    assert ((await store.get("/result"))[0] is not None) is holding
    assert ((await store.get("/there"))[0] is None) is holding


async def test_of_two_writers_of_one_key_exactly_one_wins(store):
    base = await store.commit([], [port.Put("/x", b"")])

    async def write(name: bytes) -> bytes | None:
        try:
            await store.commit([port.Unchanged("/x", base)], [port.Put("/x", name)])
        except port.Conflict:
            return None
        return name

    won = [name for name in await asyncio.gather(*(write(b"%d" % n) for n in range(8))) if name]

    entry, _ = await store.get("/x")
    assert entry is not None
    assert won == [entry.value]


async def test_a_commit_of_129_writes_or_guards_is_too_large_and_one_of_128_is_not(store):
    puts = [port.Put(f"/k{number}", b"") for number in range(129)]
    guards = [port.Absent(f"/k{number}") for number in range(129)]

    with pytest.raises(port.TooLarge):
        await store.commit([], puts)
    with pytest.raises(port.TooLarge):
        await store.commit(guards, puts[:1])
    await store.commit(guards[:128], puts[:128])

    assert len((await store.list("/k")).entries) == 128


async def test_one_key_twice_in_a_commit_is_a_mistake_of_the_caller(store):
    with pytest.raises(ValueError, match="/x is written twice"):
        await store.commit([], [port.Put("/x", b"1"), port.Delete("/x")])


async def test_a_watch_tells_history_and_then_what_happens(store):
    first = await store.commit([], [port.Put("/w/1", b"a"), port.Put("/elsewhere", b"")])
    second = await store.commit([], [port.Delete("/w/1")])
    watching = asyncio.create_task(events_of(store, "/w/", first, 3))
    third = await store.commit([], [port.Put("/w/2", b"b")])

    assert await watching == [
        port.Changed(port.Entry("/w/1", b"a", first, first, 1)),
        port.Removed("/w/1", second),
        port.Changed(port.Entry("/w/2", b"b", third, third, 1)),
    ]


async def test_a_watch_from_the_next_revision_tells_nothing_of_the_past(store):
    past = await store.commit([], [port.Put("/w/old", b"")])
    watching = asyncio.create_task(events_of(store, "/w/", past + 1, 1))
    await store.commit([], [port.Put("/w/new", b"")])

    assert [event.key for event in await watching] == ["/w/new"]


async def test_a_commit_is_never_split_over_two_batches(store):
    start = await store.commit([], [port.Put("/begin", b"")])
    for number in range(5):
        # About 5 MB a commit would be refused; 1.2 MB makes etcd answer the five in fragments.
        await store.commit([], [port.Put(f"/w/{number}/{part}", b"x" * 12_000) for part in range(100)])

    sizes: list[int] = []
    async with asyncio.timeout(BOUND_SECONDS), aclosing(store.watch("/w/", start)) as batches:
        async for batch in batches:
            assert batch.revision == max(event.modified for event in batch.events)
            sizes.append(len(batch.events))
            if sum(sizes) == 500:
                break

    assert all(size % 100 == 0 for size in sizes)


async def test_watching_what_was_compacted_is_refused_with_where_history_begins(store):
    first = await store.commit([], [port.Put("/x", b"1")])
    for _ in range(3):
        last = await store.commit([], [port.Put("/x", b"2")])
    await compact(store, last)

    with pytest.raises(port.Compacted) as compacted:
        await events_of(store, "/x", first, 1)

    assert compacted.value.at == last
    assert [event.modified for event in await events_of(store, "/x", last, 1)] == [last]


async def test_a_key_dies_with_its_lease(store):
    grant = await store.grant(1.0)
    made = await store.commit([], [port.Put("/leased", b"", lease=grant.id), port.Put("/plain", b"")])

    entry, _ = await store.get("/leased")
    assert entry is not None
    assert entry.lease == grant.id
    await store.revoke(grant.id)

    assert (await store.get("/leased"))[0] is None
    assert (await events_of(store, "/leased", made + 1, 1)) == [port.Removed("/leased", made + 1)]
    assert (await store.get("/plain"))[0] is not None


async def test_a_lease_nobody_keeps_alive_ends_by_itself(store):
    grant = await store.grant(1.0)
    made = await store.commit([], [port.Put("/leased", b"", lease=grant.id)])

    assert [type(event) for event in await events_of(store, "/leased", made + 1, 1)] == [port.Removed]
    with pytest.raises(port.LeaseLost):
        await store.keepalive(grant.id)


async def test_a_lease_kept_alive_says_how_long(store):
    grant = await store.grant(2.0)

    assert await store.keepalive(grant.id) == grant.ttl_seconds
    assert grant.ttl_seconds >= 2.0


async def test_a_key_cannot_hang_on_a_lease_that_has_ended(store):
    grant = await store.grant(5.0)
    await store.revoke(grant.id)
    await store.revoke(grant.id)

    with pytest.raises(port.LeaseLost):
        await store.commit([], [port.Put("/x", b"", lease=grant.id)])


async def test_a_closed_store_answers_nothing(store):
    await store.close()

    with pytest.raises(port.Unavailable):
        await store.get("/x")


async def test_closing_a_store_ends_its_watches(store):
    revision = await store.commit([], [port.Put("/x", b"")])
    seen = asyncio.Event()

    async def follow() -> int:
        async for _ in store.watch("/x", revision):
            seen.set()
        return 1

    following = asyncio.create_task(follow())
    await asyncio.wait_for(seen.wait(), BOUND_SECONDS)
    await store.close()

    assert await asyncio.wait_for(following, BOUND_SECONDS) == 1


async def compact(store: port.Store, revision: int) -> None:
    """Compaction is the operator's, not the port's: by each store's own door."""
    if isinstance(store, memory.MemoryStore):
        store.data.compact(revision)
    else:
        await store.compact(revision)  # type: ignore[attr-defined]
