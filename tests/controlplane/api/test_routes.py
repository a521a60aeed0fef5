"""Routes at apply: whose host and path it is, and with which certificate; who is told the certificate."""

from pathlib import Path
from typing import Any

import pytest

from controlplane.api import admission
from controlplane.api.draft import Draft
from controlplane.cluster import snapshot
from controlplane.store import memory, port, sealing
from orch import wire
from orch.manifest import document
from orch.model.network import RouteSpec
from orch.model.policy import PortSpec
from orch.v1 import control_pb2 as pb
from tests.support import planes
from tests.support.pairs import pair


def web(name: str, *routes: RouteSpec) -> pb.Document:
    document = planes.a_service(name)
    document.service.spec.template.ports.append(wire.to_wire(PortSpec(name="http", target=8080)))
    document.service.spec.routes.extend(wire.to_wire(each) for each in routes)
    return document


def a_publisher(name: str, port: int, mode: Any) -> pb.Document:
    return planes.a_service(name, template={"ports": (PortSpec(target=80, published=port, mode=mode),)})


def admitted(wanted: pb.Document, directory: Path) -> Draft:
    """What would be written of it in a cluster that has nothing yet."""
    written = document.Written("", wire.from_wire(wanted.service, document.ServiceDocument))
    return admission.apply(
        snapshot.Cluster(),
        (),
        [written],
        admission.Asker("a", 1.0),
        sealing.load_or_create(directory / "keys"),
    )


def tls(name: str, data: dict[str, bytes], kind: str = "tls") -> pb.Document:
    return pb.Document(secret={"name": {"namespace": "default", "name": name}, "type": kind, "data": data})


async def test_a_host_and_path_belong_to_one_service(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(web("web", RouteSpec(host="a.test", path="/api"))))

    other = web("other", RouteSpec(host="A.test", path="/api/"))
    other.source = "other.yaml:3"
    said = await planes.refusal(running, other)
    await running.stub.Apply(planes.applying(web("other", RouteSpec(host="a.test", path="/"))))

    assert said.startswith("other.yaml:3: service other: A.test /api/ leads to service web already")
    assert "giving both routes a weight" in said


async def test_two_services_of_one_apply_are_told_of_their_conflict(running: planes.Running) -> None:
    said = await planes.refusal(
        running, web("one", RouteSpec(host="a.test")), web("two", RouteSpec(host="a.test"))
    )

    assert "service one: a.test / leads to service two already" in said


async def test_services_that_both_give_a_weight_share_a_place(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(web("web", RouteSpec(host="a.test", weight=90))))

    await running.stub.Apply(planes.applying(web("new", RouteSpec(host="a.test", weight=10))))

    assert "leads to service" in await planes.refusal(running, web("third", RouteSpec(host="a.test")))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (web("one", RouteSpec(host="a.test")), web("two", RouteSpec(host="a.test"))),
        (a_publisher("one", 80, "host"), web("two", RouteSpec(host="a.test"))),
        (a_publisher("one", 30080, "host"), a_publisher("two", 30080, "ingress")),
    ],
    ids=["one place", "the routes' own port", "a port of some nodes and of all"],
)
async def test_of_two_at_once_that_cannot_both_be_had_the_second_has_to_look_again(
    ours: pb.Document, theirs: pb.Document, tmp_path: Path
) -> None:
    store = memory.MemoryStore.fresh()
    drafts = [admitted(each, tmp_path) for each in (ours, theirs)]

    await store.commit(drafts[0].guards(), drafts[0].store_writes())

    with pytest.raises(port.Conflict):
        await store.commit(drafts[1].guards(), drafts[1].store_writes())


async def test_who_changes_neither_ports_nor_routes_waits_for_nobody(tmp_path: Path) -> None:
    store = memory.MemoryStore.fresh()
    for name in ("one", "two"):
        draft = admitted(planes.a_service(name), tmp_path)
        await store.commit(draft.guards(), draft.store_writes())


async def test_who_goes_makes_room(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(web("web", RouteSpec(host="a.test"))))

    await running.stub.Apply(planes.applying(web("web"), web("other", RouteSpec(host="a.test"))))


async def test_who_is_pruned_makes_room(running: planes.Running) -> None:
    one, other = web("web", RouteSpec(host="a.test")), web("other", RouteSpec(host="a.test"))
    for each in (one, other):
        each.service.labels["orch/set"] = "shop"
    await running.stub.Apply(planes.applying(one))

    await running.stub.Apply(planes.applying(other, prune=True))

    await running.wait_until(lambda cluster: {name.name for name in cluster.services} == {"other"})


async def test_a_secret_that_a_route_shows_is_deleted_with_it_but_not_before(running: planes.Running) -> None:
    await running.stub.Apply(
        planes.applying(tls("cert", pair("a.test")), web("web", RouteSpec(host="a.test", tls="cert")))
    )
    secret = pb.Reference(kind="secret", namespace="default", name="cert")

    _, words = await planes.refused(running.stub.Delete(pb.DeleteRequest(references=[secret])))
    service = pb.Reference(kind="service", namespace="default", name="web")
    await running.stub.Delete(pb.DeleteRequest(references=[service, secret]))

    assert "the secret cert is used by web" in words


def publishing(document: pb.Document, published: int, **more: Any) -> pb.Document:
    document.service.spec.template.ports.append(
        wire.to_wire(PortSpec(name="out", target=8081, published=published, **more))
    )
    return document


@pytest.mark.parametrize("mode", ["ingress", "host"])
async def test_nobody_publishes_a_port_where_routes_are_served(running: planes.Running, mode: str) -> None:
    await running.agent("n1")
    await running.stub.Apply(planes.applying(web("shop", RouteSpec(host="a.test"))))

    said = await planes.refusal(running, publishing(web("web"), 80, mode=mode))
    both = await planes.refusal(running, publishing(web("both", RouteSpec(host="b.test")), 80, mode=mode))
    await running.stub.Apply(planes.applying(publishing(web("secure"), 443, mode=mode)))
    await running.stub.Apply(planes.applying(publishing(web("other"), 80, mode=mode, protocol="udp")))

    assert (
        "service web: port 80/tcp is published, but the nodes serve HTTP routes there, those of service shop: "
        "publish another port, or reach web by a route, too" in said
    )
    assert "service both: port 80/tcp is published" in both


async def test_no_routes_come_to_where_a_port_is_published(running: planes.Running) -> None:
    await running.stub.Apply(planes.applying(publishing(web("web"), 80)))
    await running.stub.Apply(planes.applying(publishing(web("secure"), 443)))

    plain = await planes.refusal(running, web("shop", RouteSpec(host="a.test")))
    secret = tls("cert", pair("a.test"))
    by_tls = await planes.refusal(running, secret, web("shop", RouteSpec(host="a.test", tls="cert")))
    await running.stub.Apply(planes.applying(web("bystander")))

    assert "service web: port 80/tcp is published" in plain
    assert "those of service shop" in plain
    assert "service secure" not in plain
    assert "service secure: port 443/tcp is published, but the nodes serve HTTPS routes there" in by_tls


async def test_nodes_may_serve_routes_elsewhere(running: planes.Running) -> None:
    await running.agent("n1", http_ports=(8000, 0))
    await running.stub.Apply(planes.applying(web("shop", RouteSpec(host="a.test"))))

    await running.stub.Apply(planes.applying(publishing(web("web"), 80)))

    assert "port 8000/tcp is published" in await planes.refusal(running, publishing(web("other"), 8000))


async def test_services_that_a_new_node_sets_against_each_other_can_still_be_changed(
    running: planes.Running,
) -> None:
    await running.agent("n1", http_ports=(8000, 0))
    await running.stub.Apply(planes.applying(web("shop", RouteSpec(host="a.test"))))
    await running.stub.Apply(planes.applying(publishing(web("web"), 80)))
    await running.agent("n2", http_ports=(80, 443))

    again = publishing(web("web"), 80)
    again.service.spec.template.containers[0].image = "web:2"
    await running.stub.Apply(planes.applying(again))
    await running.stub.Apply(planes.applying(web("shop", RouteSpec(host="b.test"))))
    undo = pb.RolloutRequest(service={"namespace": "default", "name": "web"}, verb="undo", to_revision=1)
    await running.stub.Rollout(undo)

    assert "those of service third" in await planes.refusal(running, web("third", RouteSpec(host="c.test")))


async def test_a_revision_that_published_where_routes_are_now_is_not_gone_back_to(
    running: planes.Running,
) -> None:
    await running.agent("n1")
    await running.stub.Apply(planes.applying(publishing(web("web"), 80)))
    await running.stub.Apply(planes.applying(web("web")))
    await running.stub.Apply(planes.applying(web("shop", RouteSpec(host="a.test"))))
    undo = pb.RolloutRequest(service={"namespace": "default", "name": "web"}, verb="undo", to_revision=1)

    _, words = await planes.refused(running.stub.Rollout(undo))

    assert "port 80/tcp is published" in words


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (RouteSpec(host="http://a.test"), '"http://a.test" is not a host name'),
        (RouteSpec(host="a.test", path="api"), '"api" is not the beginning of a path'),
        (RouteSpec(host="a.test", path="/a b"), "is not the beginning of a path"),
        (RouteSpec(host="a.test", path='/"x'), "is not the beginning of a path"),
        (RouteSpec(port="admin"), "the service has no tcp port admin"),
        (RouteSpec(timeout=0.0), "timeout must be longer than 0s"),
        (RouteSpec(redirect=False), "without tls there is nothing to redirect to"),
    ],
)
async def test_a_route_that_makes_no_sense_is_refused(
    running: planes.Running, route: RouteSpec, words: str
) -> None:
    assert words in await planes.refusal(running, web("web", route))


async def test_a_route_needs_a_secret_of_type_tls(running: planes.Running) -> None:
    route = RouteSpec(host="a.test", tls="cert")

    missing = await planes.refusal(running, web("web", route))
    other = await planes.refusal(running, web("web", route), tls("cert", {"x": b"1"}, "opaque"))

    assert "names the secret cert, which does not exist: apply it first" in missing
    assert "names the secret cert, which is of type opaque: it must be of type tls" in other


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"tls.crt": pair("a.test")["tls.crt"]}, "tls.key is missing"),
        (pair("a.test") | {"tls.crt": b"no"}, "tls.crt holds no certificate"),
        (pair("a.test") | {"tls.key": b"no"}, "tls.key holds no private key"),
        (
            pair("a.test") | {"tls.key": pair("b.test")["tls.key"]},
            "tls.key is not the key of the certificate",
        ),
    ],
)
async def test_what_is_no_certificate_with_its_key_is_refused(
    running: planes.Running, data: dict[str, bytes], words: str
) -> None:
    assert words in await planes.refusal(running, tls("cert", data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pair("a.test", days=-0.5), "it has expired on"),
        (pair("a.test", days=3), "it expires on"),
        (pair("a.test", begins_in_days=2), "it is good from"),
        (pair("b.test", "c.test"), "the certificate in secret cert is for b.test, c.test: clients refuse it"),
    ],
)
async def test_a_certificate_that_clients_would_refuse_is_warned_of(
    running: planes.Running, data: dict[str, bytes], words: str
) -> None:
    reply = await running.stub.Apply(
        planes.applying(tls("cert", data), web("web", RouteSpec(host="a.test", tls="cert")))
    )

    assert any(words in each for each in reply.warnings)


async def test_a_wildcard_is_for_one_part_before(running: planes.Running) -> None:
    routes = RouteSpec(host="x.a.test", tls="cert"), RouteSpec(host="y.x.a.test", tls="cert")
    reply = await running.stub.Apply(planes.applying(tls("cert", pair("*.a.test")), web("web", *routes)))

    (warning,) = [each for each in reply.warnings if "certificate" in each]
    assert "y.x.a.test /" in warning


async def test_every_node_is_told_a_certificate_while_a_route_names_it(running: planes.Running) -> None:
    here, there = await running.agent("n1"), await running.agent("n2")
    await running.stub.Apply(
        planes.applying(tls("cert", pair("a.test")), tls("other", pair("b.test")), web("web"))
    )

    await running.stub.Apply(planes.applying(web("web", RouteSpec(host="a.test", tls="cert"))))
    for agent in (here, there):
        await agent.wait_until(lambda it: bool(it.told["files"].files))
        assert [(each.name.name, each.type) for each in agent.told["files"].files] == [("cert", "tls")]

    renewed = pair("a.test")
    await running.stub.Apply(planes.applying(tls("cert", renewed)))
    await here.wait_until(lambda it: dict(it.told["files"].files[0].data) == renewed)

    await running.stub.Apply(planes.applying(web("web")))
    await here.wait_until(lambda it: not it.told["files"].files)
