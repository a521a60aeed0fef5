import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.network.addresses import Addresses, NoAddressLeftError, Subnet


def lines(*subnets: str) -> Addresses:
    return Addresses([Subnet.parse(each) for each in subnets])


def test_the_first_address_is_the_nodes_and_the_ends_are_nobodys() -> None:
    addresses = lines("10.208.4.0/29")

    assert [addresses.take() for _ in range(5)] == [(f"10.208.4.{last}",) for last in range(2, 7)]
    with pytest.raises(NoAddressLeftError, match=r"every address of 10\.208\.4\.0/29 is in use \(5\)"):
        addresses.take()


def test_a_node_has_room_for_a_thousand_tasks() -> None:
    addresses = lines("10.208.4.0/22")

    assert len({addresses.take() for _ in range(1021)}) == 1021


def test_an_address_that_was_given_back_is_the_last_to_be_given_again() -> None:
    addresses = lines("10.208.4.0/29")
    first, second = addresses.take(), addresses.take()
    addresses.give_back(second)
    addresses.give_back(first)

    assert [addresses.take()[0][-1] for _ in range(5)] == ["4", "5", "6", "3", "2"]


def test_an_address_from_before_a_restart_is_not_given() -> None:
    addresses = lines("10.208.4.0/29")
    addresses.keep(["10.208.4.2", "10.208.4.4", "192.0.2.1"])

    assert [addresses.take()[0][-1] for _ in range(3)] == ["3", "5", "6"]


def test_a_task_has_an_address_of_each_family_or_none() -> None:
    addresses = lines("10.208.4.0/30", "fd00:4::/64")

    assert addresses.take() == ("10.208.4.2", "fd00:4::2")
    with pytest.raises(NoAddressLeftError):
        addresses.take()
    addresses.give_back(["10.208.4.2"])
    assert addresses.take() == ("10.208.4.2", "fd00:4::3")


def test_families_that_cannot_give_take_nothing_from_the_others() -> None:
    addresses = lines("fd00:4::/64", "10.208.4.0/30")
    addresses.take()
    with pytest.raises(NoAddressLeftError):
        addresses.take()
    addresses.give_back(["10.208.4.2"])

    assert addresses.take() == ("fd00:4::4", "10.208.4.2")


@pytest.mark.parametrize("text", ["10.208.4.0/31", "10.208.4.1/22", "nonsense"])
def test_a_subnet_without_room_or_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"room|host bits|appear"):
        Subnet.parse(text)


@given(st.lists(st.one_of(st.just("take"), st.integers(0, 12)), max_size=80))
def test_no_address_is_ever_with_two_at_once(steps: list[object]) -> None:
    addresses = lines("10.208.4.0/28")
    held: list[tuple[str, ...]] = []
    for step in steps:
        if isinstance(step, int):
            if step < len(held):
                addresses.give_back(held.pop(step))
            continue
        try:
            taken = addresses.take()
        except NoAddressLeftError:
            assert len(held) == 13
            continue
        assert taken not in held
        held.append(taken)
