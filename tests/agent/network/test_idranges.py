"""Ranges of user ids never overlap on a node, and hardly ever between nodes of one machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.network import idranges
from agent.network.addresses import Subnet
from agent.network.attachment import NetworkError

NODE = Subnet.parse("10.208.4.0/24")


def test_no_two_tasks_of_a_node_share_an_id() -> None:
    firsts = [idranges.first_id(NODE, address) for address in NODE.hosts()]

    assert len(set(firsts)) == len(firsts) == 253
    assert all(first % idranges.SIZE == 0 for first in firsts)


@given(st.integers(min_value=8, max_value=29), st.integers(min_value=0))
def test_every_range_lies_between_the_hosts_own_ids_and_the_negative_ones(length: int, number: int) -> None:
    subnet = Subnet.parse(f"{(number % (1 << length)) << (32 - length) >> 24 & 255}.0.0.0/{length}")
    first = idranges.first_id(subnet, str(subnet.network[2]))

    assert first >= idranges.FIRST
    assert first + idranges.SIZE <= 0x7FFF_0000


def test_nodes_side_by_side_have_other_ids() -> None:
    other = Subnet.parse("10.208.5.0/24")

    ours = {idranges.first_id(NODE, address) for address in NODE.hosts()}
    assert not ours & {idranges.first_id(other, address) for address in other.hosts()}


def test_the_same_address_has_the_same_ids_after_a_restart() -> None:
    assert idranges.first_id(NODE, "10.208.4.9") == idranges.first_id(
        Subnet.parse("10.208.4.0/24"), "10.208.4.9"
    )


def test_a_subnet_of_the_sixth_version_has_ranges_too() -> None:
    subnet = Subnet.parse("fd00:0:0:7::/64")

    assert idranges.first_id(subnet, "fd00:0:0:7::2") == idranges.FIRST + 2 * idranges.SIZE


def test_more_tasks_than_there_are_ranges_are_refused_with_a_hint() -> None:
    with pytest.raises(NetworkError, match="28671 tasks of one node"):
        idranges.first_id(Subnet.parse("10.0.0.0/8"), "10.200.0.1")
