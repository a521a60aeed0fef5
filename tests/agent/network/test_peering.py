from ipaddress import ip_network

import pytest

from agent.network.attachment import Peer
from agent.network.peering import (
    Changes,
    Entries,
    Forwarding,
    Mode,
    Neighbour,
    Own,
    Route,
    Way,
    changes,
    plan,
    tunnel_mac,
)

OWN = Own("192.0.2.1", ("10.208.4.1", "fd00:4::1"), ("10.208.4.0/22", "fd00:4::/64"), 1500)
TWO = Peer("two", "192.0.2.2", ("10.208.8.0/22",))
FAR = Peer("far", "198.51.100.2", ("10.208.12.0/22",))
WAYS = {"192.0.2.2": Way(True, 1500, "eth0"), "198.51.100.2": Way(False, 1500, "eth0")}

BY_ROUTE = Route("10.208.8.0/22", "192.0.2.2", "10.208.4.1")
FAR_MAC = tunnel_mac(["10.208.12.0/22"])
BY_TUNNEL = Entries(
    frozenset([Route("10.208.12.0/22", "10.208.12.1", "10.208.4.1", tunnel=True)]),
    frozenset([Neighbour("10.208.12.1", FAR_MAC)]),
    frozenset([Forwarding(FAR_MAC, "198.51.100.2")]),
)


def test_a_node_on_a_shared_link_is_routed_to_and_all_others_are_tunnelled_to() -> None:
    found = plan(OWN, [TWO, FAR], Mode.AUTO, WAYS)

    assert found.entries == Entries(
        BY_TUNNEL.routes | {BY_ROUTE}, BY_TUNNEL.neighbours, BY_TUNNEL.forwardings
    )
    assert found.troubles == ()
    assert found.links == {"eth0"}


def test_a_node_that_the_kernel_cannot_reach_yet_is_tunnelled_to() -> None:
    assert plan(OWN, [FAR], Mode.AUTO, {}).entries == BY_TUNNEL


def test_the_modes_route_and_vxlan_ask_nobody() -> None:
    assert len(plan(OWN, [TWO, FAR], Mode.VXLAN, WAYS).entries.forwardings) == 2
    assert plan(OWN, [TWO, FAR], Mode.ROUTE, WAYS).entries == Entries(
        frozenset([BY_ROUTE, Route("10.208.12.0/22", "198.51.100.2", "10.208.4.1")])
    )


@pytest.mark.parametrize(
    ("peers", "mode", "mtu"),
    [
        ([], Mode.AUTO, 1500),
        ([], Mode.ROUTE, 1500),
        ([], Mode.VXLAN, 1450),
        ([TWO], Mode.AUTO, 1500),
        ([TWO], Mode.VXLAN, 1450),
        ([TWO, FAR], Mode.AUTO, 1450),
        ([TWO, FAR], Mode.ROUTE, 1500),
    ],
)
def test_tasks_send_what_passes_to_every_other_task(peers: list[Peer], mode: Mode, mtu: int) -> None:
    assert plan(OWN, peers, mode, WAYS).mtu == mtu


def test_the_smallest_link_on_the_way_to_any_node_counts() -> None:
    ways = {"192.0.2.2": Way(True, 1400, "eth1"), "198.51.100.2": Way(False, 1300, "eth2")}

    assert plan(OWN, [TWO], Mode.AUTO, ways).mtu == 1400
    found = plan(OWN, [TWO, FAR], Mode.AUTO, ways)
    assert (found.mtu, found.tunnel_mtu) == (1250, 1250)


def test_an_underlay_of_ipv6_takes_seventy_bytes() -> None:
    own = Own("2001:db8::1", OWN.gateways, OWN.subnets, 1500)
    peer = Peer("six", "2001:db8:1::2", ("10.208.8.0/22",))

    found = plan(own, [peer], Mode.AUTO, {"2001:db8:1::2": Way(False, 1500, "eth0")})

    assert found.mtu == 1430
    assert {each.node for each in found.entries.forwardings} == {"2001:db8:1::2"}


def test_a_subnet_of_ipv6_goes_through_an_underlay_of_ipv4() -> None:
    peer = Peer("two", "192.0.2.2", ("10.208.8.0/22", "fd00:8::/64"))
    mac = tunnel_mac(peer.subnets)

    found = plan(OWN, [peer], Mode.AUTO, WAYS)

    assert found.entries == Entries(
        frozenset([BY_ROUTE, Route("fd00:8::/64", "fd00:8::1", "fd00:4::1", tunnel=True)]),
        frozenset([Neighbour("fd00:8::1", mac)]),
        frozenset([Forwarding(mac, "192.0.2.2")]),
    )


def test_a_node_with_an_address_of_each_family_is_routed_to_in_both() -> None:
    peer = Peer("two", "192.0.2.2", ("10.208.8.0/22", "fd00:8::/64"), ("2001:db8::2",))
    ways = WAYS | {"2001:db8::2": Way(True, 1500, "eth0")}

    found = plan(OWN, [peer], Mode.AUTO, ways)

    assert found.entries == Entries(frozenset([BY_ROUTE, Route("fd00:8::/64", "2001:db8::2", "fd00:4::1")]))


@pytest.mark.parametrize(
    ("peer", "mode", "own", "words"),
    [
        (
            Peer("x", "build-7.example", ("10.208.8.0/22",)),
            Mode.AUTO,
            OWN,
            "'build-7.example', which is no IP",
        ),
        (Peer("x", "192.0.2.2", ("fd00:8::/64",)), Mode.ROUTE, OWN, "fd00:8::/64 of node x has no route"),
        (Peer("x", "2001:db8::2", ("10.208.8.0/22",)), Mode.VXLAN, OWN, "node x has no IPv4 address"),
        (
            FAR,
            Mode.AUTO,
            Own(OWN.address, OWN.gateways, OWN.subnets, 1500, "the port is taken"),
            "node far cannot be reached: the port is taken",
        ),
    ],
)
def test_who_cannot_be_reached_is_named_and_keeps_no_other_from_being_reached(
    peer: Peer, mode: Mode, own: Own, words: str
) -> None:
    found = plan(own, [peer, TWO], mode if mode is not Mode.VXLAN else Mode.AUTO, WAYS)

    assert words in " ".join(found.troubles)
    assert found.entries.routes == {BY_ROUTE}


def test_the_node_itself_is_no_peer() -> None:
    assert not plan(OWN, [Peer("me", "192.0.2.1", OWN.subnets)], Mode.AUTO, WAYS).entries
    assert not plan(OWN, [Peer("me", "192.0.2.9", OWN.subnets)], Mode.AUTO, WAYS).entries


def test_hardware_addresses_are_single_and_of_a_kind_that_no_maker_gives() -> None:
    four = {tunnel_mac([str(each)]) for each in ip_network("10.208.0.0/12").subnets(new_prefix=22)}
    six = {tunnel_mac([str(each)]) for each in list(ip_network("fd00::/52").subnets(new_prefix=64))}

    assert (len(four), len(six)) == (1024, 4096)
    assert {int(mac[:2], 16) & 3 for mac in four | six} == {2}


def test_nothing_is_changed_that_is_as_it_should_be() -> None:
    assert not changes(BY_TUNNEL, BY_TUNNEL)
    assert changes(BY_TUNNEL, Entries()) == Changes(BY_TUNNEL, Entries())
    assert changes(Entries(), BY_TUNNEL) == Changes(Entries(), BY_TUNNEL)


def test_what_moves_is_replaced_and_never_removed() -> None:
    moved = Peer("far", "203.0.113.9", FAR.subnets)
    after = plan(OWN, [moved], Mode.AUTO, {}).entries

    assert changes(after, BY_TUNNEL) == Changes(
        Entries(forwardings=frozenset([Forwarding(FAR_MAC, "203.0.113.9")])), Entries()
    )
    routed = Entries(frozenset([Route("10.208.12.0/22", "198.51.100.2", "10.208.4.1")]))
    assert changes(routed, BY_TUNNEL) == Changes(
        routed, Entries(frozenset(), BY_TUNNEL.neighbours, BY_TUNNEL.forwardings)
    )
