"""From endpoints to what the proxy is to be."""

import dataclasses
from collections import Counter

import pytest

from agent.routes import asking
from agent.routes.wanted import MOST_WEIGHT, REDIRECT, Server
from orch.model.assignment import Endpoint, EndpointSection, RevisionShare, ServiceEndpoints
from orch.model.cluster import Stamp
from orch.model.names import ObjectName, TaskId
from orch.model.network import RouteSpec
from orch.model.policy import PortSpec

HTTP = PortSpec(name="http", target=8080)


def endpoint(slot: int, *, ready: bool = True, revision: int = 1, targets: tuple[int, ...] = ()) -> Endpoint:
    task = TaskId("default", "web", 7, slot, 1)
    return Endpoint(task, "n1", (f"10.0.0.{slot}",), ready, revision, targets)


def service(
    *routes: RouteSpec,
    name: str = "web",
    endpoints: tuple[Endpoint, ...] = (endpoint(1),),
    ports: tuple[PortSpec, ...] = (HTTP,),
) -> ServiceEndpoints:
    return ServiceEndpoints(ObjectName("default", name), endpoints, ports=ports, routes=routes)


def wanted(*services: ServiceEndpoints, pems: dict[ObjectName, str] | None = None) -> asking.Wanted:
    return asking.wanted(EndpointSection(Stamp("c", 1, 1, 1), 1, services), pems or {})


def test_only_ready_endpoints_are_led_to_each_on_the_port_of_its_own_revision() -> None:
    found = wanted(
        service(
            RouteSpec(host="a.test"),
            endpoints=(
                endpoint(1),
                endpoint(2, ready=False),
                endpoint(3, revision=2, targets=(9090,)),
                endpoint(4, revision=3, targets=(0,)),
            ),
        )
    )

    (backend,) = found.backends
    assert [(each.name, each.address, each.port) for each in backend.servers] == [
        ("r1.7-1-1", "10.0.0.1", 8080),
        ("r2.7-3-1", "10.0.0.3", 9090),
    ]


@pytest.mark.parametrize(
    ("host", "path", "key"),
    [
        ("", "/", "*/"),
        ("A.test", "/", "a.test/"),
        ("a.test", "/api", "a.test/api/"),
        ("a.test", "/api/", "a.test/api/"),
        ("*.a.test", "/", "*.a.test/"),
    ],
)
def test_a_place_is_one_word_however_it_is_written(host: str, path: str, key: str) -> None:
    assert asking.key(RouteSpec(host=host, path=path)) == key


def test_without_a_route_nothing_is_wanted() -> None:
    assert wanted(service()).is_nothing


@pytest.mark.parametrize(
    ("word", "port"), [("", 8080), ("http", 8080), ("9000", 9000), ("admin", 9000), ("8080", 8080)]
)
def test_a_port_is_meant_by_name_by_number_or_as_the_first_of_tcp(word: str, port: int) -> None:
    ports = (PortSpec(target=53, protocol="udp"), HTTP, PortSpec(name="admin", target=9000))

    (backend,) = wanted(service(RouteSpec(port=word), ports=ports)).backends

    assert [each.port for each in backend.servers] == [port]


def test_a_port_that_is_not_there_is_a_problem_and_takes_no_other_route_along() -> None:
    found = wanted(service(RouteSpec(host="a.test", port="no"), RouteSpec(host="b.test")))

    assert list(found.http) == ["b.test/"]
    assert found.problems == ("a route of web names port no, which it has not",)


def test_services_share_a_place_by_weight_and_one_without_endpoints_has_no_share() -> None:
    half = RouteSpec(host="a.test", weight=30)
    led = service(half), service(RouteSpec(host="a.test", weight=10), name="new")

    shared = Counter(wanted(*led).splits.values())
    alone = Counter(
        wanted(led[0], service(RouteSpec(host="a.test", weight=10), name="new", endpoints=())).splits.values()
    )

    assert shared == {"web.default:http": 750, "new.default:http": 250}
    assert alone == {"web.default:http": 1000}


def test_parts_go_to_the_nearest_and_all_of_them_are_given() -> None:
    shares = Counter(asking.split({"a": 1, "b": 1, "c": 1}))

    assert sum(shares.values()) == 1000
    assert sorted(shares.values()) == [333, 333, 334]
    assert Counter(asking.split({"a": 0, "b": 0})) == {"a": 500, "b": 500}


def test_a_revision_has_its_share_however_many_endpoints_it_has() -> None:
    many = [Server(f"r1.{number}", "10.0.0.1", 80) for number in range(9)]
    servers = asking.weigh([*many, Server("r2.1", "10.0.0.2", 80)], {1: 95, 2: 5})

    total = sum(each.weight for each in servers)
    assert max(each.weight for each in servers) == MOST_WEIGHT
    assert servers[-1].weight / total == pytest.approx(0.05, abs=0.002)
    assert asking.weigh(many, {}) == tuple(many)


def test_shares_that_the_control_plane_gives_are_the_servers_weights() -> None:
    led = service(RouteSpec(), endpoints=(endpoint(1), endpoint(2), endpoint(3, revision=2)))
    shares = (RevisionShare(1, 50), RevisionShare(2, 50))

    (backend,) = wanted(dataclasses.replace(led, shares=shares)).backends

    assert [each.weight for each in backend.servers] == [128, 128, 256]


def test_http_leads_to_https_where_there_is_a_certificate() -> None:
    secret = ObjectName("default", "cert")
    found = wanted(
        service(
            RouteSpec(host="a.test", tls="cert"),
            RouteSpec(host="a.test", path="/both", tls="cert", redirect=False),
            RouteSpec(host="b.test"),
        ),
        pems={secret: "PEM"},
    )

    backend = "web.default:http"
    assert found.http == {"a.test/": REDIRECT, "a.test/both/": backend, "b.test/": backend}
    assert found.https == dict.fromkeys(found.http, backend)
    (certificate,) = found.certificates
    assert (certificate.hosts, certificate.is_default) == (("a.test",), False)


def test_a_certificate_that_has_not_come_is_a_problem() -> None:
    found = wanted(service(RouteSpec(host="a.test", tls="cert")))

    assert found.problems == ("HTTPS for a.test: the secret cert has not come from the control plane",)


def test_how_a_service_is_spoken_to_makes_a_backend_of_its_own() -> None:
    found = wanted(service(RouteSpec(path="/"), RouteSpec(path="/slow", timeout=600.0)))

    assert len(found.backends) == 2
    assert {each.manner.timeout for each in found.backends} == {60.0, 600.0}


def test_a_revision_is_read_out_of_a_server_s_name() -> None:
    assert [asking.revision_of(name) for name in ("r12.7-1-1", "<NOSRV>", "rx")] == [12, 0, 0]
