"""What a namespace says of its services, and what they say themselves."""

from dataclasses import replace

from controlplane.cluster import editing
from controlplane.cluster.snapshot import Cluster
from controlplane.controllers import endpoints, reach
from orch.model.config import Namespace
from orch.model.network import NetworkSpec
from orch.model.service import Service
from tests.support.builders import WEB, a_cluster, a_service


def the_service(said: NetworkSpec) -> Service:
    service = a_cluster(a_service()).service(WEB)
    assert service is not None
    return replace(service, spec=service.spec.model_copy(update={"network": said}))


def cluster(said: NetworkSpec, namespace: str) -> Cluster:
    found = editing.with_service(a_cluster(a_service()), the_service(said))
    return editing.with_namespace(found, Namespace("default", network=namespace))


def allowed(said: NetworkSpec, namespace: str) -> tuple[str, ...]:
    return endpoints.of_service(cluster(said, namespace), WEB).network.allow_from


def test_a_service_that_says_nothing_is_as_open_as_its_namespace() -> None:
    assert allowed(NetworkSpec(), "open") == ("*",)
    assert allowed(NetworkSpec(), "isolated") == ("ns/default",)
    assert endpoints.of_service(a_cluster(a_service()), WEB).network == NetworkSpec(allow_from=("*",))


def test_what_a_service_says_holds_in_an_isolated_namespace_too() -> None:
    assert allowed(NetworkSpec(allow_from=("*",)), "isolated") == ("*",)
    assert allowed(NetworkSpec(allow_from=()), "isolated") == ()
    assert allowed(NetworkSpec(allow_from=("default", "svc/front.shop")), "isolated") == (
        "ns/default",
        "svc/front.shop",
    )


def test_an_isolated_namespace_lets_its_own_tasks_go_anywhere() -> None:
    found = endpoints.of_service(cluster(NetworkSpec(egress=("default",)), "isolated"), WEB)
    assert found.network.egress == ("*",)


def test_names_that_do_not_exist_yet_are_told() -> None:
    words = ("svc/web", "svc/nope", "svc/web.shop", "ns/shop", "ns/default", "10.0.0.0/8", "*")
    service = the_service(NetworkSpec(allow_from=words, egress=("ns/none",)))

    assert list(reach.unknown(service, {WEB}, {"shop"})) == [
        "web: network.allowFrom: svc/nope: there is no service nope yet",
        "web: network.allowFrom: svc/web.shop: there is no service shop/web yet",
        "web: network.egress: ns/none: there is no namespace none yet",
    ]
