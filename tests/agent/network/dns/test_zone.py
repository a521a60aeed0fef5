"""What each form of a name stands for."""

import ipaddress
import json

import dns.rcode
import dns.rdatatype
import pytest

from agent.network.dns.zone import Zone
from tests.agent.network.dns.zones import WEB, a_zone, ask, texts

SHOP = [[], [], [[1, 1, ["10.208.4.20"]], [2, 1, ["10.208.4.21", "fd00::21"]]]]


@pytest.fixture
def zone() -> Zone:
    return a_zone(web__default=WEB, cart__shop=SHOP, db__default=[["10.224.0.6"], [], []])


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("web.default.orch", ["10.224.0.5"]),
        ("WEB.Default.Orch", ["10.224.0.5"]),
        ("vip.web.default.orch", ["10.224.0.5"]),
        ("tasks.web.default.orch", ["10.208.4.7", "10.208.8.9"]),
        ("1.web.default.orch", ["10.208.4.7"]),
        ("3.web.default.orch", ["10.208.8.10"]),
        ("cart.shop.orch", ["10.208.4.20", "10.208.4.21"]),
        ("vip.cart.shop.orch", []),
        ("db.default.orch", ["10.224.0.6"]),
        ("tasks.db.default.orch", []),
        ("default.orch", []),
        ("orch", []),
        ("_tcp.web.default.orch", []),
    ],
)
def test_a_name_has_these_addresses(zone: Zone, name: str, addresses: list[str]) -> None:
    reply = ask(zone, name)

    assert reply.rcode() == dns.rcode.NOERROR
    assert texts(reply.answer) == addresses
    assert bool(reply.authority) is not bool(addresses)


@pytest.mark.parametrize(
    "name",
    [
        "nobody.default.orch",
        "web.nowhere.orch",
        "nowhere.orch",
        "4.web.default.orch",
        "01.web.default.orch",
        "0.web.default.orch",
        "99999999999999999999.web.default.orch",
        "x.web.default.orch",
        "tasks.tasks.web.default.orch",
        "1.tasks.web.default.orch",
        "_ftp._tcp.web.default.orch",
        "_http._udp.web.default.orch",
        "_http._tcp.4.web.default.orch",
        "_http._tcp.x.web.default.orch",
        "_http.web.default.orch",
        "_tcp.db.default.orch",
        "_.web.default.orch",
    ],
)
def test_there_is_no_such_name_for_a_short_while(zone: Zone, name: str) -> None:
    for kind in ("A", "SRV"):
        reply = ask(zone, name, kind)

        assert reply.rcode() == dns.rcode.NXDOMAIN
        assert reply.authority[0].ttl <= 5
        assert reply.authority[0][0].minimum <= 5


def test_short_names_are_meant_as_the_asking_task_means_them(zone: Zone) -> None:
    web, cart = "10.208.4.7", "10.208.4.20"

    assert texts(ask(zone, "web", asker=web).answer) == ["10.224.0.5"]
    assert texts(ask(zone, "web.default", asker=cart).answer) == ["10.224.0.5"]
    assert texts(ask(zone, "tasks.web.default", asker=cart).answer) == ["10.208.4.7", "10.208.8.9"]
    assert texts(ask(zone, "1.cart", asker=cart).answer) == ["10.208.4.20"]
    assert texts(ask(zone, "cart.shop").answer) == ["10.208.4.20", "10.208.4.21"]
    for name, asker in (("web", cart), ("cart", web), ("web", ""), ("web", "10.9.9.9"), ("9.web", web)):
        with pytest.raises(LookupError):
            ask(zone, name, asker=asker)


def test_the_own_namespace_comes_before_others() -> None:
    zone = a_zone(tasks__web=[["10.224.0.1"], [], []], web__default=WEB)

    assert texts(ask(zone, "tasks.web", asker="10.208.4.7").answer) == ["10.208.4.7", "10.208.8.9"]
    assert texts(ask(zone, "tasks.web", asker="10.9.9.9").answer) == ["10.224.0.1"]


def test_a_service_that_is_called_as_the_top_of_others_names_takes_nothing_from_them() -> None:
    zone = a_zone(com__default=WEB)

    assert ask(zone, "com", asker="10.208.4.7").answer
    for name, kind in (
        ("com", "NS"),
        ("com", "DS"),
        ("com", "SOA"),
        ("example.com", "A"),
        ("www.example.com", "A"),
    ):
        with pytest.raises(LookupError):
            ask(zone, name, kind, asker="10.208.4.7")


def test_addresses_of_the_kind_that_was_asked_for(zone: Zone) -> None:
    assert texts(ask(zone, "cart.shop.orch", "AAAA").answer) == ["fd00::21"]
    assert texts(ask(zone, "2.cart.shop.orch", "ANY").answer) == ["10.208.4.21", "fd00::21"]
    for kind in ("AAAA", "TXT", "MX", "HTTPS", "CNAME", "NS", "SRV"):
        reply = ask(zone, "web.default.orch", kind)
        assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])
        assert reply.authority[0].rdtype == dns.rdatatype.SOA


def test_the_zone_says_who_has_authority(zone: Zone) -> None:
    assert ask(zone, "orch", "SOA").answer[0].rdtype == dns.rdatatype.SOA


def test_a_named_port_is_at_every_ready_task_and_their_addresses_come_along(zone: Zone) -> None:
    reply = ask(zone, "_http._tcp.web.default.orch", "SRV")

    assert texts(reply.answer) == ["0 10 8000 2.web.default.orch.", "0 10 8080 1.web.default.orch."]
    assert {rrset.name.to_text(): texts([rrset]) for rrset in reply.additional} == {
        "1.web.default.orch.": ["10.208.4.7"],
        "2.web.default.orch.": ["10.208.8.9"],
    }
    assert texts(ask(zone, "_http._tcp.tasks.web", "SRV", asker="10.208.4.7").answer) == texts(reply.answer)
    assert ask(zone, "_http._tcp.web.default.orch", "A").answer == []


def test_a_task_whose_revision_lacks_the_port_is_left_out(zone: Zone) -> None:
    reply = ask(zone, "_metrics._tcp.web.default.orch", "SRV")

    assert texts(reply.answer) == ["0 10 9100 1.web.default.orch."]


def test_a_named_port_of_one_task_and_of_the_virtual_address(zone: Zone) -> None:
    assert texts(ask(zone, "_http._tcp.3.web.default.orch", "SRV").answer) == [
        "0 10 8080 3.web.default.orch."
    ]
    reply = ask(zone, "_http._tcp.vip.web.default.orch", "SRV")
    assert texts(reply.answer) == ["0 10 80 web.default.orch."]
    assert texts(reply.additional) == ["10.224.0.5"]


def test_addresses_have_names(zone: Zone) -> None:
    def name_of(address: str) -> list[str]:
        return texts(ask(zone, ipaddress.ip_address(address).reverse_pointer, "PTR").answer)

    assert name_of("10.224.0.5") == ["web.default.orch."]
    assert name_of("10.208.8.10") == ["3.web.default.orch."]
    assert name_of("fd00::21") == ["2.cart.shop.orch."]
    assert ask(zone, "7.4.208.10.in-addr.arpa", "A").rcode() == dns.rcode.NOERROR
    assert ask(zone, "99.4.208.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN
    for name in ("1.1.1.1.in-addr.arpa", "4.208.10.in-addr.arpa", "1.0.ip6.arpa", "x.4.208.10.in-addr.arpa"):
        with pytest.raises(LookupError):
            ask(zone, name, "PTR")


@pytest.mark.parametrize(
    ("incumbent", "successor", "holder"),
    [(1, 0, "10.0.0.1"), (0, 1, "10.0.0.9"), (1, 1, "10.0.0.9"), (0, 0, "10.0.0.9")],
)
def test_of_an_incumbent_and_its_successor_the_ready_one_holds_the_slots_name(
    incumbent: int, successor: int, holder: str
) -> None:
    zone = a_zone(web__default=[[], [], [[1, incumbent, ["10.0.0.1"]], [1, successor, ["10.0.0.9"]]]])

    assert texts(ask(zone, "1.web.default.orch").answer) == [holder]


def test_every_task_comes_first_at_times() -> None:
    addresses = [f"10.0.0.{number}" for number in range(1, 6)]
    zone = a_zone(web__default=[[], [], [[slot, 1, [each]] for slot, each in enumerate(addresses, 1)]])

    firsts = {ask(zone, "tasks.web.default.orch").answer[0][0].to_text() for _ in range(200)}

    assert firsts == set(addresses)


def test_a_service_changes_and_goes(zone: Zone) -> None:
    moved = [["10.224.0.5"], [], [[1, 1, ["10.208.12.1"]]]]
    zone.table.put(f"web.default\t{json.dumps(moved)}".encode())

    assert texts(ask(zone, "1.web.default.orch").answer) == ["10.208.12.1"]
    assert texts(ask(zone, "1.12.208.10.in-addr.arpa", "PTR").answer) == ["1.web.default.orch."]
    assert ask(zone, "7.4.208.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN

    for name in ("web", "db"):
        zone.table.put(f"{name}.default".encode())
        assert ask(zone, f"{name}.default.orch").rcode() == dns.rcode.NXDOMAIN
    assert ask(zone, "default.orch").rcode() == dns.rcode.NXDOMAIN
    assert ask(zone, "1.12.208.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN
    assert len(zone.table) == 1
