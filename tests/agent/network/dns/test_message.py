"""Our messages against dnspython, which reads and writes every one of them."""

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.network.dns import message, zone

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)
RECORDS = zone.Zone({"web.default.orch": ["10.208.4.7", "10.208.4.8", "fd00::7"]})


def answered(query: dns.message.Message) -> dns.message.Message:
    reply = RECORDS.reply(message.Query(query.to_wire()))
    assert reply is not None
    read = dns.message.from_wire(reply)
    assert query.is_response(read)
    return read


@given(st.lists(LABEL, min_size=1, max_size=3), st.booleans())
def test_every_query_is_read_as_dnspython_wrote_it(labels: list[str], edns: bool) -> None:
    name = ".".join(labels)
    query = message.Query(
        dns.message.make_query(name, "AAAA", use_edns=0 if edns else -1, payload=4096).to_wire()
    )

    assert (query.name, query.kind, query.klass) == (name, message.AAAA, message.IN)
    assert (query.edns_version, query.udp_bytes) == ((0, 4096) if edns else (None, 512))


@given(st.binary(max_size=600))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    try:
        query = message.Query(data)
    except message.MalformedError:
        message.malformed(data)
        return
    reply = RECORDS.reply(query)
    assert reply is None or len(message.fitting(query, reply)) <= 1232


@pytest.mark.parametrize(("kind", "expected"), [("A", 2), ("AAAA", 1), ("ANY", 3), ("TXT", 0)])
def test_addresses_of_the_family_that_was_asked_for(kind: str, expected: int) -> None:
    reply = answered(dns.message.make_query("WEB.default.orch", kind))

    assert sum(len(rrset) for rrset in reply.answer) == expected
    assert reply.rcode() == dns.rcode.NOERROR
    assert bool(reply.authority) is not bool(expected)


def test_unknown_names_of_the_cluster_do_not_exist_for_a_short_while() -> None:
    reply = answered(dns.message.make_query("nobody.orch", "A", use_edns=0))

    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert reply.authority[0].ttl <= 5
    assert reply.authority[0][0].minimum <= 5
    assert reply.edns == 0


def test_names_of_others_are_theirs() -> None:
    for name in ("example.com", "web", "orch.example.com", "notorch", "."):
        assert RECORDS.reply(message.Query(dns.message.make_query(name, "A").to_wire())) is None


def test_a_later_edns_is_told_ours() -> None:
    query = dns.message.make_query("web.default.orch", "A", use_edns=0)
    query.use_edns(edns=1)

    assert answered(query).rcode() == dns.rcode.BADVERS


def test_updates_and_notifications_are_not_for_us() -> None:
    query = dns.message.make_query("web.default.orch", "A")
    query.set_opcode(dns.opcode.NOTIFY)

    assert answered(query).rcode() == dns.rcode.NOTIMP


def test_what_does_not_fit_says_so() -> None:
    query = dns.message.make_query("web.default.orch", "A")
    ours = message.Query(query.to_wire())
    reply = message.answer(ours, [f"10.0.{part}.1" for part in range(200)], ttl_seconds=2)

    cut = dns.message.from_wire(message.fitting(ours, reply))
    assert cut.flags & dns.flags.TC
    assert query.is_response(cut)


def test_a_forged_answer_is_not_ours() -> None:
    asked = dns.message.make_query("www.example", "A")
    query = message.Query(asked.to_wire())
    good = dns.message.make_response(asked).to_wire()
    other = dns.message.make_response(dns.message.make_query("evil.example", "A", id=asked.id)).to_wire()

    assert message.answers_to(good, asked.id, query)
    assert not message.answers_to(good, asked.id ^ 1, query)
    assert not message.answers_to(other, asked.id, query)
    assert not message.answers_to(asked.to_wire(), asked.id, query)
