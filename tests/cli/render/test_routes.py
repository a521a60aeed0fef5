"""How routes and their requests are shown."""

from cli.render import routes
from orch.v1 import control_pb2 as pb
from orch.v1 import values_pb2


def test_a_route_says_what_is_asked_for_and_what_it_leads_to() -> None:
    spec = values_pb2.ServiceSpec(
        routes=[
            values_pb2.RouteSpec(host="a.test", path="/", tls="cert", port="http", weight=0),
            values_pb2.RouteSpec(path="/api"),
        ]
    )
    ports = (("udp", 53), ("tcp", 8080), ("tcp", 9090))
    spec.template.ports.extend(
        values_pb2.PortSpec(protocol=protocol, target=target) for protocol, target in ports
    )

    assert list(routes.lines(spec)) == [
        ["https://a.test/", "port http", "certificate cert, weight 0"],
        ["http://*/api", "port 8080", ""],
    ]


def test_requests_are_told_by_revision_and_those_that_reached_none_last() -> None:
    view = pb.ServiceView(
        traffic=[
            pb.TrafficView(revision=0, seconds=60, requests=6, server_errors=6),
            pb.TrafficView(
                revision=2,
                seconds=60,
                requests=600,
                client_errors=6,
                server_errors=3,
                p50=2.4,
                p95=80,
                p99=1500,
            ),
        ]
    )

    assert list(routes.traffic(view))[1:] == [
        ["2", "10.0", "1.00%", "0.50%", "2.4ms", "80.0ms", "1.50s"],
        ["none", "0.1", "0%", "100.00%", "0.0ms", "0.0ms", "0.0ms"],
    ]
