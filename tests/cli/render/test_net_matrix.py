"""The table of `orchctl net check`."""

from typing import Any

from cli.render import net_matrix
from orch.v1 import control_pb2 as pb


def result(source: str, what: str, to: str, **more: Any) -> pb.NetResult:
    told = {"sent": 20, "received": 20, "median": 0.0005, "bytes": 1450} | more
    return pb.NetResult(what=what, to=to, **{"from": source}, **told)


def test_a_row_says_how_a_node_reaches_the_others() -> None:
    reply = pb.NetCheckReply(
        nodes=["a", "b", "c"],
        places=[pb.NetPlace(node="a"), pb.NetPlace(node="b")],
        problems=["something"],
        results=[
            *(result("a", what, "b") for what in ("nodes", "containers", "size", "tcp")),
            result("b", "nodes", "a"),
            result("b", "containers", "a", received=15),
            result("b", "size", "a", bytes=1280, error="large"),
            result("b", "tcp", "a", error="no answer"),
            result("a", "dns", "x"),
            result("a", "outside", "y", error="no answer"),
            result("b", "dns", "x", error="no answer"),
            result("a", "virtual", "x"),
            result("a", "virtual", "z", error="refused"),
        ],
    )
    assert net_matrix.matrix(reply).splitlines() == [
        "FROM   → a                                         → b              → c   DNS            VIRTUAL   PUBLISHED",
        "a      ·                                           0.5 ms, 1450 B   ?     cluster only   1 of 2    -",
        "b      0.5 ms, 25 % lost, 1280 B only, TCP fails   ·                ?     fails          -         -",
        "c      ?                                           ?                ?     ?              ?         ?",
        "",
        "1 problem(s)",
    ]
