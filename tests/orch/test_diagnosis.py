"""What findings of the network mean."""

from typing import Any

from orch import diagnosis
from orch.v1 import control_pb2 as pb

A = pb.NetPlace(node="a", address="10.208.4.9", node_address="192.0.2.1", mtu=1450, node_mtu=1500)
B = pb.NetPlace(node="b", address="10.208.8.9", node_address="192.0.2.2", mtu=1450, node_mtu=1500)


def result(what: str, **more: Any) -> pb.NetResult:
    told = {"sent": 20, "received": 20, "median": 0.001, "way": "vxlan", "bytes": 1450} | more
    to = told.pop("to", "b")
    return pb.NetResult(what=what, to=to, **{"from": told.pop("source", "a")}, **told)


def diagnosed(*results: pb.NetResult, places: tuple[Any, ...] = (A, B), **away: str) -> list[str]:
    return diagnosis.diagnose(places, results, away, 0.05).problems


def well(**more: Any) -> list[pb.NetResult]:
    return [result(what, **more) for what in ("nodes", "containers", "size", "tcp")]


def test_what_is_well_is_not_told() -> None:
    assert diagnosed(*well(), *well(source="b", to="a")) == []


def test_the_first_cause_is_told_and_nothing_that_follows() -> None:
    none = {"received": 0, "bytes": 0, "error": "no answer"}
    cut = [result("nodes"), *(result(what, **none) for what in ("containers", "size", "tcp"))]
    (said,) = diagnosed(*cut)
    assert said.startswith("a → b: containers do not reach each other, though the nodes do: UDP port 4789")

    (said,) = diagnosed(*(result(what, **none) for what in ("nodes", "containers", "size", "tcp")))
    assert "the nodes do not reach each other (192.0.2.1 and 192.0.2.2)" in said

    (said,) = diagnosed(result("nodes"), result("containers", **none | {"way": "route"}))
    assert "a chain of the hook forward that drops" in said


def test_both_directions_are_one_sentence() -> None:
    lost = [result("containers", received=10), result("containers", received=8, source="b", to="a")]
    (said,) = diagnosed(*lost)
    assert said.startswith("a ↔ b: 50 % of the packets are lost (between containers, not between the nodes)")


def test_one_lost_packet_of_twenty_is_an_accident() -> None:
    assert diagnosed(*well(received=19)) == []
    assert len(diagnosed(*well(received=17))) == 1


def test_two_large_packets_between_nodes_do_not_count_as_lost() -> None:
    assert diagnosed(result("nodes", sent=22, received=20), *well()[1:]) == []


def test_small_packets_that_pass_alone_tell_of_the_mtu() -> None:
    found = diagnosed(*well()[:2], result("size", bytes=1280), result("tcp", received=0, error="no answer"))
    (said,) = found
    assert (
        "packets of 1450 bytes between containers do not arrive, small ones do, of 1280 bytes they do" in said
    )


def test_slow_is_a_matter_of_measure() -> None:
    (said,) = diagnosed(*well(median=0.3))
    assert "an answer takes 300 ms, more than 50 ms" in said


def test_a_full_table_explains_what_follows_from_it() -> None:
    full = pb.NetPlace(node="b", mtu=1450, is_full=True, problems=["the connection table is full"])
    assert diagnosed(result("containers", received=0), places=(A, full)) == [
        "b: the connection table is full"
    ]


def test_a_firewall_of_the_host_explains_what_follows_from_it() -> None:
    walled = pb.NetPlace(node="b", mtu=1450, drops_forwarded=True, problems=["the host's firewall drops"])
    failures = [result("virtual", to=f"{each}.default.orch", error="no answer") for each in ("x", "y")]

    assert diagnosed(result("nodes"), result("containers", received=0), *failures, places=(A, walled)) == [
        "b: the host's firewall drops",
        "2 virtual addresses and published ports fail, too: see to the above first",
    ]
    assert diagnosed(result("containers", received=0), failures[0], places=(A, walled))[1:] == [
        "1 virtual address or published port fails, too: see to the above first"
    ]


def test_what_fails_in_the_same_way_is_one_sentence() -> None:
    names = [f"{each}.default.orch" for each in "vwxyz"]
    one, two = diagnosed(
        *(result("virtual", to=each, error="no answer") for each in names),
        result("virtual", to="a.default.orch", error="refused"),
    )
    assert one.startswith(
        "a: the virtual addresses of v.default.orch, w.default.orch, x.default.orch (and 2 more) are not reached"
    )
    assert two.startswith(
        "a: the virtual address of a.default.orch is not reached from a container (refused)"
    )


def test_who_took_no_part_is_told_and_names_of_the_outside_only_warn() -> None:
    found = diagnosis.diagnose(
        (A,),
        [
            result("dns", to="web.default.orch", error="no answer"),
            result("outside", to="example.com", error="no answer"),
            result("virtual", to="web.default.orch", error="refused"),
            result("published", to="web.default.orch:80 at b", error="no answer"),
        ],
        {"c": "c is away"},
        0.05,
    )
    assert [each.partition(" (")[0] for each in found.problems] == [
        "c is away",
        "a: orch-dns does not answer containers",
        "a: the published port web.default.orch:80 at b is not reached",
        "a: the virtual address of web.default.orch is not reached from a container",
    ]
    assert len(found.warnings) == 1
