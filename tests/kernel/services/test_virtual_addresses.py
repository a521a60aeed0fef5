"""Virtual addresses between tasks of two nodes: whom they lead to, and that they refuse at once where nobody is."""

from collections import Counter

import pytest

from orch.model.policy import PortSpec
from tests.kernel.network_lab import Machine, Node, ask, run_in, serving
from tests.kernel.services_lab import (
    ALONE,
    BOTH_WAYS,
    QUICK_SECONDS,
    WEB,
    ask_often,
    refusal,
    service,
    serving_on,
    tell,
)

pytestmark = pytest.mark.root


@BOTH_WAYS
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_virtual_address_leads_to_every_ready_task_and_the_client_is_seen(
    nodes: tuple[Node, Node], kind: str
) -> None:
    here, there = nodes[0].attach("here"), nodes[1].attach("there")
    clients = [nodes[0].attach("near"), nodes[1].attach("far")]
    tell(nodes, service(here, there))

    with serving_on(kind, here, there):
        for client in clients:
            answers = set(ask_often(client.netns, WEB, 80, 24, kind))
            assert answers == {f"here {client.addresses[0]}", f"there {client.addresses[0]}"}


@BOTH_WAYS
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_task_reaches_itself_through_its_own_virtual_address(nodes: tuple[Node, Node], kind: str) -> None:
    task = nodes[0].attach("web")
    tell(nodes, service(task))

    with serving_on(kind, task):
        assert ask(task.netns, WEB, 80, kind) == "web 10.208.4.1"


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_the_node_itself_reaches_a_virtual_address_as_a_member_of_the_cluster(
    nodes: tuple[Node, Node], machines: list[Machine], kind: str
) -> None:
    here, there = nodes[0].attach("here"), nodes[1].attach("there")
    tell(nodes, service(here, there))

    with serving_on(kind, here, there):
        answers = set(ask_often(machines[0].netns, WEB, 80, 24, kind))

    assert answers == {"here 10.208.4.1", "there 10.208.4.1"}


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_virtual_address_without_a_ready_task_refuses_at_once(
    nodes: tuple[Node, Node], machines: list[Machine], kind: str
) -> None:
    node = nodes[0]
    task, client = node.attach("web"), node.attach("client")
    node.set_services(service(task, ready=False))

    with serving_on(kind, task):
        assert refusal(client.netns, WEB, 80, kind) < QUICK_SECONDS
        assert refusal(machines[0].netns, WEB, 80, kind) < QUICK_SECONDS
        node.set_services(service(task))
        assert ask(client.netns, WEB, 80, kind).startswith("web")
        assert ask(machines[0].netns, WEB, 80, kind).startswith("web")


@ALONE
def test_an_address_that_no_service_has_is_refused_and_never_leaves_the_node(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    node, client = nodes[0], nodes[0].attach("client")
    machines[0].run("ip", "route", "add", "default", "via", machines[2].address)
    machines[2].run("ip", "address", "add", "10.224.9.9/32", "dev", "lo")
    node.set_services()

    with serving(machines[2].netns, 80, "stranger"):
        for kind in ("tcp", "udp"):
            assert refusal(client.netns, "10.224.9.9", 80, kind) < QUICK_SECONDS
            assert refusal(machines[0].netns, "10.224.9.9", 80, kind) < QUICK_SECONDS
        machines[0].run("ip", "route", "delete", "10.224.0.0/16")
        machines[0].run("nft", "flush", "chain", "ip", "orch", "passing")
        assert ask(client.netns, "10.224.9.9", 80).startswith("stranger"), "the rules are what kept it in"


def test_a_ping_of_a_virtual_address_is_answered_by_a_task_or_refused(nodes: tuple[Node, Node]) -> None:
    task, client = nodes[0].attach("web"), nodes[0].attach("client")
    nodes[0].set_services(service(task))
    run_in(client.netns, "busybox", "ping", "-c1", "-W2", WEB)

    nodes[0].set_services(service())
    assert "100% packet loss" in run_in(client.netns, "busybox", "ping", "-c1", "-W1", WEB, check=False)


def test_a_port_may_have_another_number_inside_and_another_in_each_revision(nodes: tuple[Node, Node]) -> None:
    old, new, client = nodes[0].attach("old"), nodes[1].attach("new"), nodes[0].attach("client")
    ports = (PortSpec(target=8080, port=80), PortSpec(target=9000, port=90))
    tell(nodes, service(old, new, ports=ports, targets={"old": (8081, 0)}))

    with (
        serving_on("tcp", new, port=8080),
        serving_on("tcp", old, port=8081),
        serving_on("tcp", new, port=9000),
    ):
        assert {each.split()[0] for each in ask_often(client.netns, WEB, 80, 24)} == {"old", "new"}
        assert {each.split()[0] for each in ask_often(client.netns, WEB, 90, 12)} == {"new"}
    tell(nodes, service(old, ports=ports, targets={"old": (8081, 0)}))
    assert refusal(client.netns, WEB, 90) < QUICK_SECONDS


def test_a_client_stays_with_its_task_until_that_leaves_and_the_others_stay(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    tasks = [nodes[number % 2].attach(f"task{number}") for number in range(4)]
    clients = [nodes[0].attach(f"client{number}") for number in range(4)]
    ports = (PortSpec(target=80, published=8080, mode="ingress"), PortSpec(target=80, port=8000))

    def choices() -> dict[str, set[str]]:
        return {
            f"{client.task} at {host}:{port}": {
                each.split()[0] for each in ask_often(client.netns, host, port, 6)
            }
            for client in clients
            for host, port in ((WEB, 80), (WEB, 8000), (machines[0].address, 8080))
        }

    with serving_on("tcp", *tasks):
        tell(nodes, service(*tasks, ports=ports, affinity_seconds=600))
        before = choices()
        assert all(len(chosen) == 1 for chosen in before.values())
        leaving = next(iter(before[f"client0 at {WEB}:80"]))
        rest = [task for task in tasks if task.task != leaving]
        tell(nodes, service(*rest, ports=ports, affinity_seconds=600))
        after = choices()
        assert all(len(chosen) == 1 for chosen in after.values())
        assert {name for name in before if after[name] != before[name]} == {
            name for name, chosen in before.items() if chosen == {leaving}
        }
        tell(nodes, service(*tasks, ports=ports, affinity_seconds=600))
        assert choices() == after, "who stays is not moved by those that come"


def test_without_affinity_a_client_meets_all_tasks_alike(nodes: tuple[Node, Node]) -> None:
    tasks, client = [nodes[0].attach(f"task{number}") for number in range(3)], nodes[1].attach("client")
    tell(nodes, service(*tasks))

    with serving_on("tcp", *tasks):
        answers = Counter(ask_often(client.netns, WEB, 80, 150))

    assert len(answers) == 3
    assert min(answers.values()) > 20, "of 50 each: less happens once in 10 million runs"
