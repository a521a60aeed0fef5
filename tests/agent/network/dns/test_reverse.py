"""Whose an address is, beside a plain dictionary."""

from hypothesis import given
from hypothesis import strategies as st

from agent.network.dns import reverse
from agent.network.dns.reverse import Reverse

ADDRESSES = st.integers(0, 40).map(lambda number: bytes((10, 208, 0, number))) | st.sampled_from(
    [bytes(16), b"\xfd" + bytes(15)]
)
CHANGES = st.lists(st.tuples(st.booleans(), ADDRESSES, st.integers(0, 3)), max_size=60)


@given(CHANGES)
def test_an_address_is_one_of_its_owners(changes: list[tuple[bool, bytes, int]]) -> None:
    found = Reverse()
    known: dict[bytes, set[int]] = {}
    for added, address, owner in changes:
        owners = known.setdefault(address, set())
        if len(address) != 4 and owners - {owner} and added:
            continue  # of IPv6 the last one counts
        if added and owner not in owners:
            found.add([address], owner)
            owners.add(owner)
        elif not added:
            found.remove([address], owner)
            owners.discard(owner)
    for address, owners in known.items():
        assert found.owner(address) in (owners or {None})


def test_many_are_kept_in_blocks() -> None:
    found = Reverse()
    many = [number.to_bytes(4, "big") for number in range(0, 30_000, 3)]
    for owner, address in enumerate(sorted(many, key=lambda each: each[::-1])):
        found.add([address], owner)
    owners = {address: found.owner(address) for address in many}

    assert sorted(owners.values()) == list(range(len(many)))
    assert found.owner((4).to_bytes(4, "big")) is None
    assert len(found._blocks) > len(many) // reverse.BLOCK
    for address, owner in owners.items():
        found.remove([address], owner)
    assert [found.owner(each) for each in many[::100]] == [None] * 100
