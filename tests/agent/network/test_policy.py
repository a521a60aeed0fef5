"""Words of services → sets, chains and rules."""

from dataclasses import replace

from agent.network.policy import limits, text
from agent.network.policy.limits import Way
from agent.network.policy.wanted import KNOWN, SELF, Book, Elements, IsOurs
from orch.model.assignment import Endpoint, ServiceEndpoints
from orch.model.names import ServiceName, TaskId
from orch.model.network import NetworkSpec

DB, WEB = ServiceName("shop", "db"), ServiceName("shop", "web")
PLACE = text.Place("orch0", "10.208.0.0/12", "10.208.4.0/22", "10.224.0.0/16")
NOT_OURS = IsOurs({})
HERE = IsOurs({0xFFFFFC00: 10 << 24 | 208 << 16 | 4 << 8})


def service(name: ServiceName, *addresses: str, **network: tuple[str, ...]) -> ServiceEndpoints:
    endpoints = tuple(
        Endpoint(TaskId(*name, 1, slot, 1), "n1", (address,)) for slot, address in enumerate(addresses, 1)
    )
    return ServiceEndpoints(name, endpoints, network=NetworkSpec(**network))


def book(*services: ServiceEndpoints) -> Book:
    made = Book()
    made.told(services)
    return made


def everything(found: Book, is_ours: IsOurs) -> Elements:
    """Whoever gives it."""
    return {element: chain for each in found.elements(is_ours).values() for element, chain in each.items()}


def test_no_limit_is_no_chain_and_no_element() -> None:
    found = book(service(DB, "10.208.8.2"), service(WEB, "10.208.8.3", allow_from=("ns/shop", "*")))
    assert found.chains == {}
    assert everything(found, NOT_OURS) == {}


def test_a_word_is_a_set_and_a_list_of_words_is_a_chain() -> None:
    found = book(
        service(DB, "10.208.8.2", allow_from=("svc/web", "ns/x", "10.0.0.0/8")), service(WEB, "10.208.8.3")
    )
    (chain,) = found.chains.values()
    assert (chain.way, chain.members, chain.ranges) == (Way.INTO, ("ns.x", "svc.shop.web"), ("10.0.0.0/8",))
    assert everything(found, NOT_OURS) == {
        (KNOWN, ("10.208.8.2",)): "",
        (KNOWN, ("10.208.8.3",)): "",
        (SELF, ("10.208.8.2", "10.208.8.2")): "",
        ("into", ("10.208.8.2",)): chain.name,
        ("svc.shop.web", ("10.208.8.3",)): "",
    }


def test_services_that_say_the_same_share_a_chain_whatever_the_order() -> None:
    found = book(
        service(DB, allow_from=("svc/web", "ns/x")), service(WEB, allow_from=("ns/x", "svc/web.shop"))
    )
    assert len(found.chains) == 1


def test_only_what_was_told_anew_is_looked_at() -> None:
    db, web = service(DB), service(WEB)
    found = book(db, web)
    assert found.told((db, web)) == set()
    assert found.told((db, replace(web))) == {WEB}
    assert found.told((db,)) == {WEB}


def test_this_node_knows_best_who_has_its_addresses() -> None:
    found = book(service(DB, "10.208.4.2", "10.208.8.2", allow_from=()), service(WEB, "10.208.4.2"))
    found.owners, found.local = {"key": WEB}, {"10.208.4.2": "key"}
    judged = [key for (name, key) in everything(found, HERE) if name == "into"]
    assert judged == [("10.208.8.2",)]


def test_a_task_of_an_unknown_service_is_shut_off_and_a_build_is_nobodys() -> None:
    found = book(service(DB, allow_from=("svc/web",)))
    found.owners, found.local = {"new": WEB}, {"10.208.4.2": "new", "10.208.4.3": "build"}
    assert found.of_local("10.208.4.2", frozenset()) == {
        ("into", ("10.208.4.2",)): limits.UNKNOWN,
        ("out_of", ("10.208.4.2",)): limits.UNKNOWN,
    }
    assert found.of_local("10.208.4.3", frozenset()) == {(KNOWN, ("10.208.4.3",)): ""}


def test_a_chain_is_needed_as_long_as_a_service_uses_it() -> None:
    db, web = service(DB, allow_from=("ns/x",)), service(WEB, allow_from=("ns/x",))
    found = book(db, web)
    assert len(found.chains) == 1
    found.told((replace(db, network=NetworkSpec()), web))
    assert len(found.chains) == 1
    found.told((web,))
    assert len(found.chains) == 1
    found.told(())
    assert found.chains == {}
    assert found.limits == {}


def test_services_in_a_set_are_found() -> None:
    found = book(service(DB), service(WEB), service(ServiceName("x", "y")))
    assert found.in_sets(frozenset({"svc.shop.db"})) == {DB}
    assert found.in_sets(frozenset({"ns.shop"})) == {DB, WEB}
    assert found.in_sets(frozenset()) == set()


def test_a_word_of_a_newer_control_plane_lets_nobody_in() -> None:
    newer = NetworkSpec.model_construct(allow_from=("zone/a",), egress=("*",))
    chain = limits.of(DB, newer).into
    assert chain is not None
    assert (chain.members, chain.ranges) == ((), ())


def test_ranges_govern_the_outside_and_words_alone_do_not() -> None:
    words = text.whole(PLACE, book(service(DB, allow_from=("svc/web",))).chains, {})
    ranges = text.whole(PLACE, book(service(DB, allow_from=("192.0.2.0/24",))).chains, {})
    published = "ip saddr != 10.208.0.0/12 ct status & dnat == dnat return"
    assert published in words
    assert published not in ranges
    for each in (words, ranges):
        assert "ip saddr 10.208.0.0/12 ip saddr & 0.0.3.255 == 0.0.0.1 return" in each


def test_a_change_takes_away_what_nobody_asks_for_any_more() -> None:
    before = book(service(DB, "10.208.8.2", allow_from=("svc/web",)), service(WEB, "10.208.8.3"))
    after = book(service(DB, "10.208.8.2", allow_from=("ns/x",)), service(WEB, "10.208.8.3"))
    (old,), (new,) = before.chains, after.chains
    said = text.change(
        PLACE, before.chains, after.chains, [("into", ("10.208.8.2",)), ("svc.shop.web", ("10.208.8.3",))], {}
    )
    lines = said.splitlines()
    assert "add set ip orch-policy ns.x { type ipv4_addr; }" in lines
    assert f"  chain {new} {{" in lines
    assert lines[-3:] == [
        f"flush chain ip orch-policy {old}",
        f"delete chain ip orch-policy {old}",
        "delete set ip orch-policy svc.shop.web",
    ]
    assert not any("delete element" in line and "svc.shop.web" in line for line in lines)
