"""Large decisions as sequences of transactions."""

import pytest

from controlplane.store import memory, port, sequence


def group(*keys: str, guards: tuple[port.Guard, ...] = ()) -> sequence.Group:
    return sequence.Group(
        guards or tuple(port.Absent(key) for key in keys), tuple(port.Put(key, b"v") for key in keys)
    )


LEADER = port.Present("/leader")


@pytest.fixture
async def store():
    made = memory.MemoryStore.fresh()
    await made.commit([], [port.Put("/leader", b"me")])
    return made


async def test_a_decision_of_a_thousand_writes_is_committed_whole(store):
    outcome = await sequence.commit(store, LEADER, [group(f"/a/{n}", f"/b/{n}") for n in range(500)])

    assert (outcome.committed, outcome.stopped_by) == (500, None)
    assert len((await store.list("/a/")).entries) == 500
    assert outcome.revision == store.data.revision


async def test_no_transaction_is_too_large_and_no_group_is_torn():
    groups = [group(f"/a/{n}", f"/b/{n}", f"/c/{n}") for n in range(100)]

    packed = list(sequence.pack(groups, LEADER))

    assert all(max(len(t.guards), len(t.writes)) <= port.MAX_OPERATIONS_PER_COMMIT for t in packed)
    assert all(t.guards[0] == LEADER and len(t.writes) % 3 == 0 for t in packed)
    assert [w for t in packed for w in t.writes] == [w for g in groups for w in g.writes]
    assert len(packed) == 3


def test_guards_shared_by_groups_are_counted_once():
    shared = port.Unchanged("/service", 5)
    groups = [sequence.Group((shared,), (port.Put(f"/{n}", b""),)) for n in range(128)]

    (only,) = sequence.pack(groups, LEADER)

    assert only.guards == (LEADER, shared)


def test_a_group_larger_than_a_transaction_is_refused():
    with pytest.raises(port.TooLarge):
        list(sequence.pack([group(*(f"/{n}" for n in range(129)))], None))


def test_two_groups_writing_one_key_are_a_mistake():
    with pytest.raises(ValueError, match="/x is written twice"):
        list(sequence.pack([group("/x"), group("/x")], None))


async def test_a_sequence_stops_at_the_first_conflict_and_says_how_far_it_came(store):
    await store.commit([], [port.Put("/a/150", b"somebody else's")])

    outcome = await sequence.commit(store, LEADER, [group(f"/a/{n}") for n in range(300)])

    assert isinstance(outcome.stopped_by, port.Conflict)
    assert outcome.stopped_by.failed == port.Absent("/a/150")
    assert outcome.committed == 127  # with the leader's guard, 127 more fit
    assert len((await store.list("/a/")).entries) == 128


async def test_a_later_guard_on_what_the_sequence_itself_wrote_holds(store):
    base = await store.commit([], [port.Put("/service", b"old"), port.Put("/gone", b"")])
    first = sequence.Group(
        (port.Unchanged("/service", base),), (port.Put("/service", b"new"), port.Delete("/gone"))
    )
    rest = [
        group(f"/{n}", guards=(port.Unchanged("/service", base), port.Present("/gone"))) for n in range(200)
    ]

    outcome = await sequence.commit(store, LEADER, [first, *rest])

    assert (outcome.committed, outcome.stopped_by) == (201, None)


async def test_a_lost_answer_of_a_commit_that_counted_does_not_stop_the_sequence(store):
    store.faults.lose_answers = 1

    outcome = await sequence.commit(store, LEADER, [group(f"/a/{n}") for n in range(200)])

    assert (outcome.committed, outcome.stopped_by) == (200, None)
    assert outcome.modified["/a/0"] < outcome.modified["/a/199"] == store.data.revision


async def test_a_lost_request_stops_the_sequence(store):
    store.faults.lose_requests = 1

    outcome = await sequence.commit(store, LEADER, [group(f"/a/{n}") for n in range(200)])

    assert outcome.committed == 0
    assert isinstance(outcome.stopped_by, port.OutcomeUnknown)
    assert (await store.list("/a/")).entries == ()


def test_an_old_equal_value_is_not_taken_for_ours():
    ours = sequence.Transaction((port.Unchanged("/x", 7),), (port.Put("/x", b"same"),), 1)

    assert sequence.applied_at(ours, {"/x": port.Entry("/x", b"same", 1, 7, 3)}, since=0) is None
    assert sequence.applied_at(ours, {"/x": port.Entry("/x", b"same", 1, 8, 4)}, since=0) == 8
    assert sequence.applied_at(ours, {"/x": None}, since=0) is None
