"""Every service has an address of its own."""

from dataclasses import replace

from controlplane.cluster import editing
from controlplane.cluster.after import after
from controlplane.cluster.change import ForgetService, GiveAddress, Waiting
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import virtual_address
from orch.model.cluster import ClusterIdentity
from orch.model.names import ServiceName
from tests.support.builders import WEB, a_cluster, a_service

API = ServiceName("default", "api")


def in_range(service_range: str, *parts: object) -> Cluster:
    cluster = a_cluster(*parts)
    return editing.with_identity(cluster, replace(ClusterIdentity("c"), service_range=service_range))


def given(cluster: Cluster, name: ServiceName = WEB) -> str:
    (change,) = virtual_address.decide(cluster, name, 0)
    assert isinstance(change, GiveAddress)
    return change.address


def test_a_service_gets_an_address_once() -> None:
    cluster = in_range("10.224.0.0/16", a_service())

    (change,) = virtual_address.decide(cluster, WEB, 0)
    cluster = after(cluster, [change], 0)

    assert cluster.virtual_addresses(WEB) == (given(in_range("10.224.0.0/16", a_service())),)
    assert list(virtual_address.decide(cluster, WEB, 0)) == []


def test_no_two_services_have_one_address() -> None:
    cluster = in_range("10.224.0.0/29", *(a_service(f"s{i}") for i in range(6)))

    for name in sorted(cluster.services):
        cluster = after(cluster, virtual_address.decide(cluster, name, 0), 0)

    addresses = [cluster.virtual_addresses(name)[0] for name in cluster.services]
    assert sorted(addresses) == [f"10.224.0.{i}" for i in range(1, 7)]


def test_a_service_for_which_no_address_is_left_waits_and_says_so() -> None:
    cluster = in_range("10.224.0.0/30", a_service("a"), a_service("b"), a_service("web"))
    for name in ("a", "b"):
        cluster = after(cluster, virtual_address.decide(cluster, ServiceName("default", name), 0), 0)

    assert list(virtual_address.decide(cluster, WEB, 0)) == [
        Waiting(WEB, "no virtual address is free in 10.224.0.0/30")
    ]


def test_a_forgotten_service_gives_its_address_back_and_finds_it_again() -> None:
    cluster = in_range("10.224.0.0/16", a_service())
    address = given(cluster)
    cluster = after(cluster, [GiveAddress(WEB, address)], 0)

    cluster = after(cluster, [ForgetService(WEB)], 0)

    assert dict(cluster.addresses) == {}
    assert given(in_range("10.224.0.0/16", a_service())) == address


def test_a_service_that_is_being_deleted_gets_none() -> None:
    assert list(virtual_address.decide(in_range("10.224.0.0/16", a_service(deleted=True)), WEB, 0)) == []
