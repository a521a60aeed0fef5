from hypothesis import given
from hypothesis import strategies as st

from agent.network.services import groups
from agent.network.services.difference import Chains, Difference, groups_in, parsed
from agent.network.services.groups import Chain, Form, Group, Key, Memory, seated

WEB = Key(Form.VIRTUAL, bytes((10, 224, 0, 5)))
DOOR = Key(Form.AT, bytes((10, 224, 0, 5, 6, 0, 0, 0, 0, 80, 0, 0)))
A, B, C = (bytes((10, 208, 4, last)) for last in (2, 3, 4))

ADDRESSES = st.lists(st.sampled_from([bytes((10, 0, 0, last)) for last in range(12)]), unique=True)


def test_who_stays_keeps_the_seat() -> None:
    assert seated((A, B, C), {A, B, C}) == (A, B, C)
    assert seated((A, B), {A, B, C}) == (A, B, C)
    assert seated((A, B, C), {B, C}) == (C, B)
    assert seated((B, A), {C, A}) == (C, A)
    assert seated((), {B, A}) == (A, B)
    assert seated((A,), set()) == ()


@given(ADDRESSES, ADDRESSES)
def test_everybody_has_one_seat_and_as_few_change_as_can_be(before: list[bytes], wanted: list[bytes]) -> None:
    after = seated(tuple(before), wanted)

    assert sorted(after) == sorted(wanted)
    written = sum(old != new for old, new in zip(before, after, strict=False))
    gone = set(before[: len(after)]) - set(wanted)
    assert written == len(gone)


def test_the_elements_of_a_group_say_which_chain_draws_and_who_sits_where() -> None:
    zero, one = (number.to_bytes(4, groups.BYTEORDER) for number in range(2))

    assert dict(groups.elements(WEB, Group((A, B)))) == {
        ("virtual", WEB.fields): "virtual-2",
        ("virtual_ends", WEB.fields + zero): A,
        ("virtual_ends", WEB.fields + one): B,
    }
    assert dict(groups.elements(WEB, Group((A,), affinity_seconds=60))) == {
        ("virtual", WEB.fields): "virtual-1-sticky",
        ("virtual_ends", WEB.fields + zero): A,
        ("virtual_memory", WEB.fields): "remember-60s",
    }


def test_nobody_is_behind_an_empty_group_and_a_door_without_endpoints_is_shut() -> None:
    """Else its packets would go on to whoever serves the rest of the address."""
    assert dict(groups.elements(WEB, Group(()))) == {}
    assert dict(groups.elements(DOOR, Group(()))) == {("doors_at", DOOR.fields): "closed"}


def test_an_element_that_changes_goes_and_comes() -> None:
    change = Difference()

    change.between(
        {("m", b"1"): A, ("m", b"2"): A, ("m", b"3"): A}, {("m", b"2"): A, ("m", b"3"): B, ("m", b"4"): C}
    )

    assert change.lost == {("m", b"1"), ("m", b"3")}
    assert change.new == {("m", b"3"): B, ("m", b"4"): C}


def test_groups_are_found_again_in_what_the_kernel_holds() -> None:
    whole = {WEB: Group((B, A, C)), DOOR: Group((A + bytes((0, 81, 0, 0)),))}
    held = dict(each for key, group in whole.items() for each in groups.elements(key, group))

    assert groups_in(held) == whole


def test_a_chain_is_made_once_and_kept_for_a_while() -> None:
    chains = Chains(["virtual-2", "somebody-elses"])
    assert chains.change({WEB: (None, Group((A, B)))}) == []
    assert chains.change({WEB: (Group((A, B)), Group((A, B, C)))}) == [Chain(Form.VIRTUAL, 3)]
    assert chains.change({WEB: (Group((A, B, C)), Group((A, B)))}) == []
    assert chains.take_spare() == []


def test_chains_that_nobody_uses_go_when_they_are_many() -> None:
    chains = Chains()
    used = Group((A,), affinity_seconds=5)
    assert chains.change({DOOR: (None, used)}) == [Chain(Form.AT, 1, sticky=True), Memory(5)]
    for size in range(1, 70):
        chains.change({WEB: (None, Group((A,) * size))})
        chains.change({WEB: (Group((A,) * size), None)})

    spare = chains.take_spare()
    assert len(spare) == 69
    assert "remember-5s" not in spare
    assert chains.take_spare() == []
    assert chains.change({WEB: (None, Group((A, A)))}) == [Chain(Form.VIRTUAL, 2)]


def test_the_name_of_a_chain_says_all_of_it() -> None:
    for made in (Chain(Form.VIRTUAL, 3), Chain(Form.AT, 12, sticky=True), Chain(Form.ANY, 1), Memory(600)):
        assert parsed(made.name) == made
    assert parsed("closed") is None
    assert parsed("virtual-x") is None
