"""Who gets a blob from whom."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from controlplane.registry import swarm
from controlplane.registry.swarm import Peer, Swarm

NOW = 1000.0


def node(number: int) -> Peer:
    return Peer(f"n{number}", f"10.0.0.{number}:7423")


def sources(count: int) -> dict[str, str]:
    """Where each of so many nodes is sent, one after another."""
    asked = Swarm()
    return {
        node(n).name: found.name if (found := asked.source("sha256:a", node(n), NOW)) else ""
        for n in range(count)
    }


def depth(found: dict[str, str], name: str) -> int:
    return depth(found, found[name]) + 1 if found[name] else 0


def test_the_first_two_get_it_from_the_control_plane_and_all_others_from_nodes() -> None:
    found = sources(50)

    assert [name for name, source in found.items() if not source] == ["n0", "n1"]


def test_no_node_gives_a_blob_to_more_than_two_and_none_is_more_than_five_steps_away() -> None:
    found = sources(50)

    assert max(Counter(source for source in found.values() if source).values()) == swarm.BRANCHES
    assert max(depth(found, name) for name in found) <= 5


def test_each_blob_has_a_tree_of_its_own() -> None:
    asked = Swarm()
    for n in range(4):
        asked.source("sha256:a", node(n), NOW)

    assert asked.source("sha256:b", node(5), NOW) is None


def test_who_fails_one_is_asked_by_nobody_any_more() -> None:
    asked = Swarm()
    for n in range(2):
        asked.source("sha256:a", node(n), NOW)
    sent_to = asked.source("sha256:a", node(2), NOW)
    assert sent_to == node(0)

    again = asked.source("sha256:a", node(2), NOW, failed=["n0"])

    assert again is None, "one of the two that had it from us is gone, so there is room for another"
    assert asked.source("sha256:a", node(3), NOW) != node(0)


def test_who_failed_is_asked_for_no_other_blob_either() -> None:
    asked = Swarm()
    for blob in ("sha256:a", "sha256:b"):
        for n in range(3):
            asked.source(blob, node(n), NOW)

    asked.source("sha256:a", node(2), NOW, failed=["n0"])

    assert asked.source("sha256:b", node(3), NOW) is None, "there is room for another in place of n0"


def test_nobody_is_slandered_by_one_that_was_not_sent_there() -> None:
    asked = Swarm()
    for n in range(2):
        asked.source("sha256:a", node(n), NOW)

    asked.source("sha256:a", node(9), NOW, failed=["n0", "n1"])

    assert [asked.source("sha256:a", node(n), NOW) for n in (3, 4)] == [node(1), node(0)]


def test_who_wants_nobody_elses_gets_it_from_the_control_plane() -> None:
    asked = Swarm()
    for n in range(10):
        asked.source("sha256:a", node(n), NOW)

    assert asked.source("sha256:a", node(11), NOW, direct=True) is None


def test_what_was_long_ago_is_forgotten() -> None:
    asked = Swarm()
    for n in range(10):
        asked.source("sha256:a", node(n), NOW)

    assert asked.source("sha256:a", node(11), NOW + swarm.REMEMBERED_SECONDS) is None


def test_only_so_many_blobs_are_remembered() -> None:
    asked = Swarm()
    for n in range(swarm.MOST_BLOBS + 5):
        asked.source(f"sha256:{n}", node(1), NOW)

    assert len(asked._blobs) == swarm.MOST_BLOBS


@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=2), st.booleans()), max_size=60
    )
)
def test_nobody_ever_waits_for_itself(asking: list[tuple[int, list[int], bool]]) -> None:
    """Whatever fails and asks again in whatever order: from each node a way leads to the control plane."""
    asked = Swarm()
    for n, failed, direct in asking:
        asked.source("sha256:a", node(n), NOW, failed=[node(f).name for f in failed], direct=direct)
        members = asked._blobs["sha256:a"]
        for name in members:
            seen, at = set[str](), name
            while at in members and members[at].source:
                assert at not in seen
                seen.add(at)
                at = members[at].source
