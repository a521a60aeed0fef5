"""Our messages against dnspython, which reads and writes every one of them."""

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.network.dns import answer, message
from tests.agent.network.dns.zones import WEB, a_zone, ask, reply_to, texts

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)
ZONE = a_zone(web__default=WEB)
MANY = a_zone(
    many__default=[[], [], [[slot, 1, [f"10.0.{slot // 250}.{slot % 250}"]] for slot in range(1, 9000)]]
)
A_QUERY = dns.message.make_query("web.default.orch", "A", use_edns=0).to_wire()


@given(st.lists(LABEL, min_size=1, max_size=3), st.booleans())
def test_every_query_is_read_as_dnspython_wrote_it(labels: list[str], edns: bool) -> None:
    name = ".".join(labels)
    query = message.Query(
        dns.message.make_query(name, "AAAA", use_edns=0 if edns else -1, payload=4096).to_wire()
    )

    assert (query.name, query.kind, query.klass) == (name, message.AAAA, message.IN)
    assert (query.edns_version, query.udp_bytes) == ((0, 4096) if edns else (None, 512))


def no_more_than_refused(data: bytes) -> None:
    try:
        query = message.Query(data)
    except message.MalformedError:
        assert len(message.malformed(data)) in (0, message.HEADER.size)
        return
    said = ZONE.reply(query, "10.208.4.7")
    if said is not None:
        reply = answer.write(query, said, query.udp_limit)
        assert len(reply) <= 1232
        if not query.opcode:
            dns.message.from_wire(reply)


@given(st.binary(max_size=600))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    no_more_than_refused(data)


@given(st.integers(0, len(A_QUERY)), st.binary(max_size=8), st.integers(0, 12))
def test_no_spoilt_query_does_more_than_be_refused(at: int, spoilt: bytes, cut: int) -> None:
    no_more_than_refused((A_QUERY[:at] + spoilt + A_QUERY[at + len(spoilt) :])[: len(A_QUERY) - cut])


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",
        b"\x03www\xc0\x0c",
        b"\xc0\xff",
        b"\x40" + b"a" * 64 + b"\0",
        b"\x3f" + b"a" * 63,
        (b"\x01a" * 128) + b"\0",
    ],
)
def test_names_that_point_in_circles_or_never_end_are_refused(name: bytes) -> None:
    head = dns.message.make_query("a", "A").to_wire()[:12]

    with pytest.raises(message.MalformedError):
        message.Query(head + name + b"\0\1\0\1")


def test_the_longest_name_is_read() -> None:
    name = ".".join(("a" * 63, "b" * 63, "c" * 63, "d" * 61))

    assert message.Query(dns.message.make_query(name, "A").to_wire()).name == name


def test_a_dot_within_a_label_is_no_end_of_it() -> None:
    query = dns.message.make_query(dns.name.Name([b"web.default", b"orch", b""]), "A")

    assert reply_to(ZONE, query).rcode() == dns.rcode.NXDOMAIN


def test_capitals_come_back_as_they_were_asked() -> None:
    assert ask(ZONE, "wEB.deFAUlt.oRCh").question[0].name.to_text() == "wEB.deFAUlt.oRCh."


def test_edns_is_answered_with_edns_and_only_then() -> None:
    with_edns, without = ask(ZONE, "nobody.orch", use_edns=0, payload=4096), ask(ZONE, "nobody.orch")

    assert (with_edns.edns, with_edns.payload, with_edns.rcode()) == (0, 1232, dns.rcode.NXDOMAIN)
    assert without.edns == -1
    assert ask(ZONE, "nobody.orch", want_dnssec=True).ednsflags & dns.flags.DO


def test_a_later_edns_is_told_ours() -> None:
    query = dns.message.make_query("web.default.orch", "A", use_edns=0)
    query.use_edns(edns=1)

    assert reply_to(ZONE, query).rcode() == dns.rcode.BADVERS


def test_edns_comes_once_and_without_a_name() -> None:
    option = A_QUERY[-11:]
    for spoilt in (
        A_QUERY[:11] + b"\2" + A_QUERY[12:] + option,
        A_QUERY[:-11] + b"\1a" + option,
        A_QUERY[:-5],
        A_QUERY[:-2] + b"\xff\xff",
    ):
        with pytest.raises(message.MalformedError):
            message.Query(spoilt)


def test_updates_and_notifications_are_not_for_us() -> None:
    query = dns.message.make_query("web.default.orch", "A")
    query.set_opcode(dns.opcode.NOTIFY)

    assert reply_to(ZONE, query).rcode() == dns.rcode.NOTIMP


def test_whole_zones_and_other_classes_are_refused() -> None:
    for kind, klass in (("AXFR", "IN"), ("A", "CH")):
        assert ask(ZONE, "web.default.orch", kind, rdclass=klass).rcode() == dns.rcode.REFUSED


def test_what_does_not_fit_a_datagram_comes_in_part_and_says_so() -> None:
    for more, least, most in (({}, 25, 512), ({"use_edns": 0, "payload": 4096}, 70, 1232)):
        reply = ask(MANY, "tasks.many.default.orch", **more)
        assert reply.flags & dns.flags.TC
        assert least < len(texts(reply.answer)) * 16 < most * 16


def test_what_does_not_fit_a_stream_comes_as_far_as_it_goes() -> None:
    reply = ask(MANY, "tasks.many.default.orch", limit=message.TCP_BYTES)

    assert not reply.flags & dns.flags.TC
    assert len(texts(reply.answer)) == (65535 - 12 - 29) // 16


def test_a_forged_answer_is_not_ours() -> None:
    asked = dns.message.make_query("www.example", "A")
    query = message.Query(asked.to_wire())
    good = dns.message.make_response(asked).to_wire()
    other = dns.message.make_response(dns.message.make_query("evil.example", "A", id=asked.id)).to_wire()

    assert message.answers_to(good, asked.id, query)
    assert not message.answers_to(good, asked.id ^ 1, query)
    assert not message.answers_to(other, asked.id, query)
    assert not message.answers_to(asked.to_wire(), asked.id, query)


def test_an_answer_to_another_asker_has_this_ones_id_and_capitals() -> None:
    first, second = (dns.message.make_query(name, "A") for name in ("www.example", "WWW.Example"))
    reply = dns.message.make_response(first)
    reply.answer.append(dns.rrset.from_text("www.example.", 60, "IN", "A", "203.0.113.5"))

    read = dns.message.from_wire(message.for_asker(reply.to_wire(), message.Query(second.to_wire())))

    assert second.is_response(read)
    assert read.question[0].name.to_text() == "WWW.Example."
    assert texts(read.answer) == ["203.0.113.5"]
