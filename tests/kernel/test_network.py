"""Two nodes and a stranger on one switch: real bridges, namespaces, routes and packet rules."""

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.network import sweep
from agent.network.attachment import NetworkError, Peer, Published
from tests.kernel import network_lab
from tests.kernel.network_lab import Machine, Node, ask, run_in, serving

pytestmark = pytest.mark.root

SUBNETS = ("10.208.4.0/22", "10.208.8.0/22")


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    with network_lab.lab("192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24") as made:
        yield made


@pytest.fixture
def node(machines: list[Machine], tmp_path: Path) -> Iterator[Node]:
    one = Node(machines[0], tmp_path / "one", SUBNETS[0])
    yield one
    one.end()


@pytest.fixture
def nodes(node: Node, machines: list[Machine], tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    two = Node(machines[1], tmp_path / "two", SUBNETS[1])
    node.set_peers(Peer("two", machines[1].address, (SUBNETS[1],)))
    two.set_peers(Peer("one", machines[0].address, (SUBNETS[0],)))
    yield node, two
    two.end()


def test_a_task_has_an_address_a_gateway_and_the_links_size(node: Node) -> None:
    task = node.attach("web.1")

    assert task.addresses == ("10.208.4.2",)
    assert task.gateway == "10.208.4.1"
    assert "mtu 1400" in run_in(task.netns, "ip", "link", "show", "eth0")
    run_in(task.netns, "busybox", "ping", "-c1", "-W2", task.gateway)
    run_in(task.netns, "busybox", "ping", "-c1", "-W2", "127.0.0.1")


def test_a_link_has_no_more_queues_than_it_uses(node: Node) -> None:
    """Those that it gave up again would keep the kernel waiting."""
    task = node.attach("web")
    shown = [node.machine.run("ip", "-d", "-j", "link"), run_in(task.netns, "ip", "-d", "-j", "link")]
    links = [
        [link for link in json.loads(each) if link["ifname"].startswith(("orch0a", "eth0"))] for each in shown
    ]
    assert all(links)
    assert {(link["num_tx_queues"], link["num_rx_queues"]) for each in links for link in each} == {(1, 1)}


def test_attaching_twice_is_one_attachment(node: Node) -> None:
    assert node.attach("web.1") == node.attach("web.1")
    assert list(node.attached()) == ["web.1"]


def test_tasks_of_two_nodes_reach_each_other_under_their_own_addresses(nodes: tuple[Node, Node]) -> None:
    here, there = nodes[0].attach("a"), nodes[1].attach("b")

    with serving(there.netns, 80, "there"):
        assert ask(here.netns, there.addresses[0], 80) == f"there {here.addresses[0]}"


def test_tasks_of_one_node_reach_each_other(node: Node) -> None:
    one, two = node.attach("a"), node.attach("b")

    with serving(two.netns, 80, "two"):
        assert ask(one.netns, two.addresses[0], 80) == f"two {one.addresses[0]}"


def test_a_route_goes_with_its_peer_and_follows_it(nodes: tuple[Node, Node]) -> None:
    node = nodes[0]
    assert f"{SUBNETS[1]} via 192.0.2.2" in node.machine.run("ip", "route")

    node.set_peers(Peer("two", "192.0.2.3", (SUBNETS[1],)))
    assert f"{SUBNETS[1]} via 192.0.2.3" in node.machine.run("ip", "route")

    node.set_peers()
    assert SUBNETS[1] not in node.machine.run("ip", "route")


def test_an_unreachable_peer_is_named(machines: list[Machine], tmp_path: Path) -> None:
    node = Node(machines[0], tmp_path / "one", SUBNETS[0], mode="route")
    try:
        with pytest.raises(NetworkError, match=r"10\.208\.8\.0/22 via 203\.0\.113\.9"):
            node.set_peers(Peer("far", "203.0.113.9", (SUBNETS[1],)))
    finally:
        node.end()


def test_who_leaves_the_cluster_comes_from_the_nodes_address(node: Node, machines: list[Machine]) -> None:
    task = node.attach("a")

    with serving(machines[2].netns, 80, "stranger"):
        assert ask(task.netns, machines[2].address, 80) == f"stranger {machines[0].address}"


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_published_port_is_reached_from_everywhere(
    nodes: tuple[Node, Node], machines: list[Machine], kind: str
) -> None:
    node, other = nodes
    task, neighbour, far = node.attach("web"), node.attach("neighbour"), other.attach("far")
    node.publish("web", Published("", 8080, 80, kind))

    with serving(task.netns, 80, "web", kind):
        seen_from = {
            "outside": ask(machines[2].netns, machines[0].address, 8080, kind),
            "another node": ask(machines[1].netns, machines[0].address, 8080, kind),
            "the node": ask(machines[0].netns, "127.0.0.1", 8080, kind),
            "the node's address": ask(machines[0].netns, machines[0].address, 8080, kind),
            "a neighbour": ask(neighbour.netns, machines[0].address, 8080, kind),
            "itself": ask(task.netns, machines[0].address, 8080, kind),
            "a task of another node": ask(far.netns, machines[0].address, 8080, kind),
        }

    assert seen_from == {
        "outside": f"web {machines[2].address}",
        "another node": f"web {machines[1].address}",
        "the node": "web 10.208.4.1",
        "the node's address": f"web {machines[0].address}",
        "a neighbour": f"web {neighbour.addresses[0]}",
        "itself": "web 10.208.4.1",
        "a task of another node": f"web {machines[1].address}",
    }


def test_a_port_of_one_address_is_not_open_on_others(node: Node, machines: list[Machine]) -> None:
    task = node.attach("web")
    node.publish("web", Published("127.0.0.1", 8080, 80, "tcp"))

    with serving(task.netns, 80, "web"):
        assert ask(machines[0].netns, "127.0.0.1", 8080).startswith("web")
        with pytest.raises(AssertionError, match="refused"):
            ask(machines[2].netns, machines[0].address, 8080)


def test_an_unpublished_port_leads_nowhere(node: Node, machines: list[Machine]) -> None:
    task = node.attach("web")
    node.publish("web", Published("", 8080, 80, "tcp"))
    node.call("unpublish", "web")
    node.call("unpublish", "web")

    with serving(task.netns, 80, "web"), pytest.raises(AssertionError, match="refused"):
        ask(machines[2].netns, machines[0].address, 8080)


def test_a_port_that_a_process_has_is_refused_by_name(node: Node, machines: list[Machine]) -> None:
    node.attach("web")

    with serving(machines[0].netns, 8080, "host"):
        with pytest.raises(NetworkError, match=r"port \*:8080/tcp .* another process"):
            node.publish("web", Published("", 8080, 80, "tcp"))
        assert ask(machines[2].netns, machines[0].address, 8080).startswith("host")


def test_a_port_that_another_task_has_is_refused_by_name(node: Node) -> None:
    node.attach("one"), node.attach("two")
    node.publish("one", Published("", 8080, 80, "tcp"))
    node.publish("one", Published("", 8080, 80, "tcp"))

    with pytest.raises(NetworkError, match=r"port \*:8080/tcp .* another task"):
        node.publish("two", Published("127.0.0.1", 8080, 80, "tcp"))
    node.publish("two", Published("", 8080, 80, "udp"))


def test_a_disk_that_takes_no_record_keeps_ports_neither_half_open_nor_open(
    node: Node, machines: list[Machine]
) -> None:
    task = node.attach("web")
    in_the_way = node.folder / "state" / "network" / "web.new"
    in_the_way.mkdir()
    with pytest.raises(NetworkError, match=r"web\.new"):
        node.publish("web", Published("", 8080, 80, "tcp"))
    in_the_way.rmdir()
    node.publish("web", Published("", 8080, 80, "tcp"))

    in_the_way.mkdir()
    node.call("unpublish", "web")
    in_the_way.rmdir()

    with serving(task.netns, 80, "web"), pytest.raises(AssertionError, match="refused"):
        ask(machines[2].netns, machines[0].address, 8080)


def test_a_task_cannot_reach_what_listens_on_the_nodes_loopback(node: Node, machines: list[Machine]) -> None:
    task = node.attach("web")
    run_in(task.netns, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    run_in(task.netns, "ip", "route", "delete", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
    run_in(task.netns, "ip", "route", "add", "127.0.0.9/32", "via", task.gateway)

    with serving(machines[0].netns, 99, "private", host="127.0.0.9"):
        with pytest.raises(AssertionError, match="timed out"):
            ask(task.netns, "127.0.0.9", 99, patience_seconds=0.5)
        machines[0].run("nft", "flush", "chain", "ip", "orch", "coming")
        assert ask(task.netns, "127.0.0.9", 99).startswith("private"), "the guard is what kept it out"


def test_a_detached_task_leaves_nothing_and_its_address_waits(node: Node) -> None:
    first = node.attach("a")
    node.publish("a", Published("", 8080, 80, "tcp"))
    node.call("detach", "a")
    node.call("detach", "a")
    node.call("settle")

    assert node.attached() == {}
    assert not Path(first.netns).exists()
    assert "orch0ad00402" not in node.machine.run("ip", "link")
    assert "8080" not in node.machine.run("nft", "list", "ruleset")
    assert node.attach("b").addresses != first.addresses


def test_an_agent_that_returns_finds_everything_as_it_was(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    node = nodes[0]
    task = node.attach("web")
    node.publish("web", Published("", 8080, 80, "tcp"))
    dns = node.dns_pid()

    with serving(task.netns, 80, "web"):
        node.kill()
        assert ask(machines[2].netns, machines[0].address, 8080).startswith("web")
        node.start()
        assert node.attached() == {"web": task}
        assert node.attach("web") == task
        assert ask(machines[2].netns, machines[0].address, 8080).startswith("web")
    assert f"{SUBNETS[1]} via 192.0.2.2" in node.machine.run("ip", "route")
    assert node.dns_pid() == dns


def test_a_task_whose_namespace_is_gone_gets_one_with_the_same_address(node: Node) -> None:
    task = node.attach("web")
    node.kill()
    node.machine.run("ip", "link", "delete", "orch0ad00402")
    node.start()

    assert node.attach("web") == task
    run_in(task.netns, "busybox", "ping", "-c1", "-W2", task.gateway)


def test_killed_in_the_middle_of_attaching_nothing_leaks_and_no_address_is_given_twice(node: Node) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    wanted = [f"task.{number}" for number in range(24)]
    for _ in range(6):
        node.send("attach_many", wanted)
        _kill_after(node, chance.uniform(0.0, 0.06))
        node.start()
        node.call("settle")
        assert_addresses_are_single(node)
    node.call("attach_many", wanted)
    assert_addresses_are_single(node)
    assert sorted(node.attached()) == sorted(wanted), f"seed {seed}"
    node.call("detach_many", wanted)
    node.call("settle")
    node.call("close")
    node.process.wait()
    links = {link.split()[0].split("@")[0] for link in node.machine.run("ip", "-br", "link").splitlines()}
    slots = set(node.namespaces())
    assert links == {"lo", "uplink", "orch0", "orch-vxlan"} | {f"orch{slot}" for slot in slots}
    assert len(slots) <= 4, "only the pool is left"
    node.start()
    assert node.attached() == {}


def _kill_after(node: Node, seconds: float) -> None:
    """At a moment of chance: the wait is the point, nothing is waited for."""
    with suppress(subprocess.TimeoutExpired):
        node.process.wait(seconds)
    node.kill()


def assert_addresses_are_single(node: Node) -> None:
    given = node.attached()
    addresses = [each.addresses for each in given.values()]
    assert len(addresses) == len(set(addresses))
    for task in given.values():
        assert f"inet {task.addresses[0]}/22" in run_in(task.netns, "ip", "address")


def test_a_host_that_flushed_its_rules_gets_ours_again(node: Node, machines: list[Machine]) -> None:
    task = node.attach("web")
    node.publish("web", Published("", 8080, 80, "tcp"))
    machines[0].run("nft", "flush", "ruleset")
    node.publish("web", Published("", 8080, 80, "tcp"), Published("", 8081, 80, "tcp"))

    with serving(task.netns, 80, "web"):
        assert ask(machines[2].netns, machines[0].address, 8080).startswith("web")
        assert ask(machines[2].netns, machines[0].address, 8081).startswith("web")


@pytest.mark.parametrize(
    ("published", "complaint"),
    [
        (Published("", 0, 80, "tcp"), "1 to 65535"),
        (Published("", 80, 80, "sctp"), "tcp or udp"),
        (Published("198.51.100.9", 80, 80, "tcp"), "not an address of this node"),
        (Published("::1", 80, 80, "tcp"), "not an IPv4 address"),
    ],
)
def test_a_port_that_cannot_be_is_refused_and_harms_no_other(
    node: Node, published: Published, complaint: str
) -> None:
    node.attach("web")
    with pytest.raises(NetworkError, match=complaint):
        node.publish("web", published)
    node.publish("web", Published("", 8080, 80, "tcp"))


@pytest.fixture
def small(machines: list[Machine], tmp_path: Path) -> Iterator[Node]:
    """Thirteen addresses: who does not give them back has none left soon."""
    one = Node(machines[0], tmp_path / "small", "10.208.4.0/28")
    yield one
    one.end()


def test_attaching_and_detaching_for_long_costs_nothing_in_the_end(small: Node) -> None:
    node, tasks = small, [f"t{number}" for number in range(8)]

    def cycle() -> None:
        node.call("attach_many", tasks)
        node.call("detach_many", tasks)
        node.call("settle")

    def descriptors() -> int:
        return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))

    cycle()
    before = descriptors()
    for _ in range(12):
        cycle()
    deadline = time.monotonic() + network_lab.BOUND_SECONDS
    while descriptors() > before:  # a slot that is being made for the pool holds a few
        assert time.monotonic() < deadline, f"{descriptors()} descriptors, {before} before"
        time.sleep(0.01)
    threads = len(list(Path(f"/proc/{node.process.pid}/task").iterdir()))
    assert threads <= 3 + min(32, (os.cpu_count() or 1) + 4)  # asyncio's pool of threads may fill up, no more
    assert len(network_lab.mounts(node.folder)) <= 1 + 4 + len(tasks)


def test_a_node_whose_namespace_is_gone_is_swept(machines: list[Machine], tmp_path: Path) -> None:
    node = Node(machines[0], tmp_path / "one", SUBNETS[0])
    dns = node.dns_pid()
    node.attach("web")
    node.kill()
    assert network_lab.mounts(tmp_path)

    sweep.sweep(node.folder / "run", node.folder / "state")
    sweep.sweep(node.folder / "run", node.folder / "state")

    assert network_lab.mounts(tmp_path) == []
    assert not list((node.folder / "run").iterdir())
    assert is_gone(dns)


def is_gone(pid: int) -> bool:
    """Also where nobody has asked for its exit status yet."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] in "ZX"


def test_cleanup_leaves_nothing_behind(machines: list[Machine], tmp_path: Path) -> None:
    before = [machine.picture() for machine in machines]
    node = Node(machines[0], tmp_path / "one", SUBNETS[0])
    dns = node.dns_pid()
    try:
        node.set_peers(Peer("two", machines[1].address, (SUBNETS[1],)))
        node.call("attach_many", [f"t{number}" for number in range(8)])
        node.publish("t1", Published("", 8080, 80, "tcp"))
        assert network_lab.mounts(tmp_path)
    finally:
        node.cleanup()

    assert [machine.picture() for machine in machines] == before
    assert network_lab.mounts(tmp_path) == []
    assert not list((tmp_path / "one/run").iterdir())
    assert not list((tmp_path / "one/state").iterdir())
    assert is_gone(dns)
