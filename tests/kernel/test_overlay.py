"""Tasks of nodes in different rooms reach each other through VXLAN, those of one room by plain routes."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from agent.network import peering, sweep
from agent.network.attachment import NetworkError, Peer
from tests.kernel import network_lab, routed_lab
from tests.kernel.network_lab import Machine, Node, ask, run_in, serving
from tests.kernel.routed_lab import six

pytestmark = pytest.mark.root

SUBNETS = ("10.208.4.0/22", "10.208.8.0/22", "10.208.12.0/22")
ADDRESSES = ("192.0.2.1", "192.0.2.2", "198.51.100.1")
"""Two in one room, and one in another."""


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    with routed_lab.rooms(*ADDRESSES, ipv6=True) as made:
        yield made


@contextmanager
def opened(machines: list[Machine], folder: Path, *modes: str, **underlay: object) -> Iterator[list[Node]]:
    """A node on each machine, each with its mode, and all know each other."""
    with ExitStack() as ending:
        nodes = []
        for number, (machine, subnet, mode) in enumerate(zip(machines, SUBNETS, modes, strict=False)):
            node = Node(machine, folder / str(number), subnet, mode=mode, **underlay)
            ending.callback(node.end)
            nodes.append(node)
        introduce(*nodes)
        yield nodes


def introduce(*nodes: Node) -> None:
    for node in nodes:
        node.set_peers(*(peer_of(each) for each in nodes if each is not node))


def peer_of(node: Node) -> Peer:
    return Peer(node.folder.name, node.machine.address, tuple(node.subnet.split()))


def assert_all_reach_all(nodes: list[Node]) -> None:
    """Tasks each other under their own addresses, and each node every task from its own address in the cluster."""
    tasks = [node.attach("web") for node in nodes]
    for server, node in zip(tasks, nodes, strict=True):
        with serving(server.netns, 80, node.folder.name):
            for client in tasks:
                if client is not server:
                    assert ask(client.netns, server.addresses[0], 80).endswith(client.addresses[0])
            for other in nodes:
                own = other.subnet.replace(".0/22", ".1")
                assert ask(other.machine.netns, server.addresses[0], 80).endswith(own)


def test_in_auto_mode_a_node_of_the_same_room_is_routed_to_and_others_are_tunnelled_to(
    machines: list[Machine], tmp_path: Path
) -> None:
    with opened(machines, tmp_path, "auto", "auto", "auto") as nodes:
        routes = nodes[0].machine.run("ip", "route")
        assert "10.208.8.0/22 via 192.0.2.2 dev uplink" in routes
        assert "10.208.12.0/22 via 10.208.12.1 dev orch-vxlan" in routes
        assert_all_reach_all(nodes)


@pytest.mark.parametrize(
    "modes",
    [("vxlan", "vxlan", "vxlan"), ("auto", "vxlan", "auto"), ("route", "vxlan"), ("vxlan", "route")],
)
def test_nodes_of_different_modes_understand_each_other(
    machines: list[Machine], tmp_path: Path, modes: tuple[str, ...]
) -> None:
    with opened(machines, tmp_path, *modes) as nodes:
        assert_all_reach_all(nodes)


ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO: it is never cut up
s.bind(("0.0.0.0", 9))
print("ready", flush=True)
while True: s.sendto(*s.recvfrom(9999))
"""
CALL = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 2)
s.settimeout(5)
s.connect((sys.argv[1], 9))
data = bytes(int(sys.argv[2]))
s.send(data)
assert s.recv(9999) == data
"""


@contextmanager
def echoing(netns: str) -> Iterator[None]:
    command = ["nsenter", f"--net={netns}", sys.executable, "-S", "-c", ECHO]
    echo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert echo.stdout.readline() == "ready\n"
        yield
    finally:
        echo.kill()
        echo.wait()
        echo.stdout.close()


def assert_passes(netns: str, address: str, packet_bytes: int) -> None:
    """There and back, whole."""
    run_in(netns, sys.executable, "-S", "-c", CALL, address, str(packet_bytes - 28))


def mtu(netns: str, link: str = "eth0") -> int:
    return json.loads(run_in(netns, "ip", "-j", "link", "show", link))[0]["mtu"]


def test_what_a_tasks_link_takes_passes_to_every_task_and_follows_who_is_there(
    machines: list[Machine], tmp_path: Path
) -> None:
    with opened(machines, tmp_path, "auto", "auto", "auto") as (near, neighbour, far):
        near.set_peers(peer_of(neighbour))
        neighbour.set_peers(peer_of(near))
        tasks = [node.attach("web") for node in (near, neighbour, far)]
        assert [mtu(task.netns) for task in tasks] == [1500, 1500, 1450]
        with echoing(tasks[1].netns):
            assert_passes(tasks[0].netns, tasks[1].addresses[0], 1500)

        introduce(near, neighbour, far)

        assert [mtu(task.netns) for task in tasks] == [1450, 1450, 1450]
        links = json.loads(near.machine.run("ip", "-j", "link"))
        assert {link["mtu"] for link in links if link["ifname"].startswith("orch")} == {1450}
        assert mtu(near.attach("another").netns) == 1450
        for one in tasks:
            with echoing(one.netns):
                for other in tasks:
                    assert_passes(other.netns, one.addresses[0], 1450)

        near.set_peers(peer_of(neighbour))
        assert mtu(tasks[0].netns) == 1500


def test_nothing_is_flooded_and_nothing_is_learned(machines: list[Machine], tmp_path: Path) -> None:
    with opened(machines, tmp_path, "vxlan", "vxlan", "vxlan") as nodes:
        entries = nodes[0].machine.run("bridge", "fdb", "show", "dev", "orch-vxlan")
        assert sorted(line.split()[2] for line in entries.splitlines()) == ["192.0.2.2", "198.51.100.1"]
        assert_all_reach_all(nodes)
        assert nodes[0].machine.run("bridge", "fdb", "show", "dev", "orch-vxlan") == entries
        assert " nolearning " in nodes[0].machine.run("ip", "-d", "link", "show", "orch-vxlan")

        sent = carried(nodes[0])
        task = nodes[0].attach("web")
        run_in(task.netns, "busybox", "ping", "-c1", "-W1", "10.208.200.1", check=False)
        nodes[0].machine.run("busybox", "arping", "-c1", "-w1", "-I", "orch-vxlan", "10.208.8.9", check=False)
        assert carried(nodes[0]) == sent


def test_the_kernel_follows_what_is_inside_and_not_what_carries_it(
    machines: list[Machine], tmp_path: Path
) -> None:
    with opened(machines, tmp_path, "vxlan", "vxlan") as nodes:
        task, other = nodes[0].attach("one"), nodes[1].attach("other")
        run_in(task.netns, "busybox", "ping", "-c1", "-W2", other.addresses[0])

        for node in nodes:
            followed = node.machine.run("cat", "/proc/net/nf_conntrack")
            assert f"dst={other.addresses[0]}" in followed
            assert "dport=4789" not in followed


def carried(node: Node) -> int:
    """Packets that left by the tunnel."""
    link = json.loads(node.machine.run("ip", "-s", "-j", "link", "show", "orch-vxlan"))[0]
    return link["stats64"]["tx"]["packets"]


def heard(node: Node) -> int:
    """Packets that came by the tunnel."""
    link = json.loads(node.machine.run("ip", "-s", "-j", "link", "show", "orch-vxlan"))[0]
    return link["stats64"]["rx"]["packets"]


def strange_link(machine: Machine, to: Machine, vni: int, address: str, there: str, mac: str) -> None:
    """A tunnel of somebody who knows all that there is to know."""
    name = f"strange{vni}"
    tunnel = f"type vxlan id {vni} dstport 4789 remote {to.address} local {machine.address}"
    machine.run("ip", "link", "add", name, "up", "address", mac, *tunnel.split())
    machine.run("ip", "address", "add", address, "dev", name)
    machine.run("ip", "route", "replace", there, "dev", name)


def test_who_is_no_node_is_not_listened_to(machines: list[Machine], tmp_path: Path) -> None:
    stranger = machines[2]
    with opened(machines[:2], tmp_path, "vxlan", "vxlan") as (node, other):
        gateway, mac = SUBNETS[0].replace(".0/22", ".1"), peering.tunnel_mac([SUBNETS[0]])
        strange_link(stranger, node.machine, 208, "10.208.200.1/32", SUBNETS[0], "0e:00:00:00:00:01")
        stranger.run("ip", "neigh", "add", gateway, "lladdr", mac, "dev", "strange208")

        def knock() -> int:
            """Packets that came through."""
            before = heard(node)
            stranger.run("busybox", "ping", "-c2", "-i0.1", "-W1", gateway, check=False)
            return heard(node) - before

        assert knock() == 0
        assert "counter packets 0 " not in node.machine.run("nft", "list", "table", "ip", "orch-tunnel")
        assert_all_reach_all([node, other])
        node.set_peers(peer_of(other), Peer("three", stranger.address, (SUBNETS[2],)))
        assert knock() >= 2
        node.set_peers(peer_of(other))
        assert knock() == 0

        node.machine.run("nft", "delete", "table", "ip", "orch-tunnel")
        node.call("look_around")
        assert knock() == 0, "somebody who flushes rules is noticed"


def test_other_tunnels_on_the_same_port_are_left_alone(machines: list[Machine], tmp_path: Path) -> None:
    one, stranger = machines[0], machines[2]
    with opened(machines[:2], tmp_path, "vxlan", "vxlan"):
        strange_link(one, stranger, 999, "172.30.0.1/24", "172.30.1.0/24", "0e:00:00:00:00:01")
        strange_link(stranger, one, 999, "172.30.0.2/24", "172.30.1.0/24", "0e:00:00:00:00:02")

        assert " 0% packet loss" in one.run("busybox", "ping", "-c2", "-i0.1", "-W2", "172.30.0.2")


def test_a_node_that_moves_is_followed_and_one_that_is_gone_is_forgotten(
    machines: list[Machine], tmp_path: Path
) -> None:
    with opened(machines, tmp_path, "vxlan", "vxlan", "vxlan") as (node, _, far):
        node.set_peers(Peer("two", "192.0.2.9", (SUBNETS[1],)), peer_of(far))
        assert "dst 192.0.2.9" in node.machine.run("bridge", "fdb", "show", "dev", "orch-vxlan")
        assert "192.0.2.2" not in node.machine.run("bridge", "fdb", "show", "dev", "orch-vxlan")

        node.set_peers(peer_of(far))
        everything = node.machine.run("sh", "-c", "ip route; ip neigh; bridge fdb show dev orch-vxlan")
        assert "10.208.8." not in everything
        assert "192.0.2.9" not in everything
        with serving(far.attach("a").netns, 80, "far"):
            assert ask(node.attach("b").netns, far.attach("a").addresses[0], 80).startswith("far")


def test_an_agent_that_returns_finds_the_tunnel_as_it_was_and_traffic_never_stopped(
    machines: list[Machine], tmp_path: Path
) -> None:
    with opened(machines, tmp_path, "vxlan", "vxlan", "vxlan") as (node, _, far):
        here, there = node.attach("a"), far.attach("b")
        everything = (
            "sh",
            "-c",
            "ip -d link show orch-vxlan; ip route; ip neigh show dev orch-vxlan; bridge fdb show dev orch-vxlan",
        )
        before = node.machine.run(*everything)
        with serving(there.netns, 80, "far"):
            node.kill()
            assert ask(here.netns, there.addresses[0], 80).startswith("far")
            node.start()
            assert node.machine.run(*everything) == before
            introduce(node, far)
            assert ask(here.netns, there.addresses[0], 80).startswith("far")


def test_a_tunnel_of_other_settings_is_made_anew(machines: list[Machine], tmp_path: Path) -> None:
    with opened(machines[:1], tmp_path, "vxlan") as (node,):
        node.kill()
        again = Node(machines[0], node.folder, SUBNETS[0], mode="vxlan", vni=77, port=8472)
        try:
            assert "vxlan id 77 " in again.machine.run("ip", "-d", "link", "show", "orch-vxlan")
            assert "dstport 8472" in again.machine.run("ip", "-d", "link", "show", "orch-vxlan")
        finally:
            again.end()


def test_a_port_that_a_process_has_is_named_and_nodes_of_the_room_are_reached(
    machines: list[Machine], tmp_path: Path
) -> None:
    with serving(machines[0].netns, 4790, "in the way", "udp"):
        assert_only_the_far_is_cut_off(machines, tmp_path, "UDP port 4790 is taken")


def test_a_device_that_is_in_the_way_is_named_and_nodes_of_the_room_are_reached(
    machines: list[Machine], tmp_path: Path
) -> None:
    words = "link add x up type vxlan id 208 dstport 4790 local 192.0.2.1"
    machines[0].run("sh", "-c", f"ip {words}")
    assert_only_the_far_is_cut_off(machines, tmp_path, "another device has VNI 208")


def assert_only_the_far_is_cut_off(machines: list[Machine], folder: Path, words: str) -> None:
    with opened(machines[:2], folder, "auto", "auto", port=4790) as (node, neighbour):
        with pytest.raises(NetworkError, match=f"node far cannot be reached: .*{words}"):
            node.set_peers(peer_of(neighbour), Peer("far", "198.51.100.1", (SUBNETS[2],)))
        with serving(neighbour.attach("a").netns, 80, "near"):
            assert ask(node.attach("b").netns, "10.208.8.2", 80).startswith("near")


def test_an_address_on_the_loopback_device_is_of_a_node_that_is_reached_by_its_links(
    machines: list[Machine], tmp_path: Path
) -> None:
    machines[0].run("ip", "address", "add", "203.0.113.1/32", "dev", "lo")
    node = Node(Machine(machines[0].netns, "203.0.113.1"), tmp_path / "one", SUBNETS[0], mode="vxlan")
    try:
        assert mtu(node.attach("web").netns) == 1450
    finally:
        node.end()


@pytest.mark.parametrize("mode", ["auto", "route", "vxlan"])
def test_a_node_with_a_subnet_of_each_family_gives_and_reaches_both(
    machines: list[Machine], tmp_path: Path, mode: str
) -> None:
    """In `auto` mode the nodes know each other by IPv4 only: IPv6 goes through the tunnel."""
    with ExitStack() as ending:
        nodes = []
        for number, machine in enumerate(machines[:2]):
            both = f"{SUBNETS[number]} fd00:{number + 4}::/64"
            node = Node(machine, tmp_path / str(number), both, mode=mode)
            ending.callback(node.end)
            nodes.append(node)
        for node, other in (nodes, nodes[::-1]):
            others = (six(other.machine.address),) if mode == "route" else ()
            node.set_peers(Peer("x", other.machine.address, tuple(other.subnet.split()), others))
        one, two = (node.attach("web") for node in nodes)
        assert two.addresses == ("10.208.8.2", "fd00:5::2")
        for address in two.addresses:
            ping = ("busybox", "ping", "-c1", "-W2", address)
            run_in(one.netns, *ping)
            nodes[0].machine.run(*ping)
        way = nodes[0].machine.run("ip", "-6", "route", "get", "fd00:5::2")
        assert f"dev {'uplink' if mode == 'route' else 'orch-vxlan'}" in way


def test_a_subnet_more_takes_no_address_from_who_runs(machines: list[Machine], tmp_path: Path) -> None:
    with opened(machines[:1], tmp_path, "auto") as (node,):
        before = node.attach("old")
        node.kill()
        again = Node(machines[0], node.folder, f"{SUBNETS[0]} fd00:4::/64")
        try:
            assert again.attach("old") == before
            assert again.attach("new").addresses[1].startswith("fd00:4::")
        finally:
            again.end()


def test_a_thousand_nodes_are_programmed_and_a_change_costs_what_has_changed(
    machines: list[Machine], tmp_path: Path
) -> None:
    subnets = list(ip_network("10.208.0.0/12").subnets(new_prefix=22))[2:1002]
    peers = [
        Peer(f"n{at}", f"198.51.{100 + at // 250}.{at % 250 + 2}", (str(net),))
        for at, net in enumerate(subnets)
    ]
    with opened(machines[:1], tmp_path, "vxlan") as (node,):
        node.set_peers(*peers)
        count = "ip route show proto 79 dev orch-vxlan | wc -l; ip neigh show dev orch-vxlan | wc -l; "
        count += "bridge fdb show dev orch-vxlan | wc -l"
        assert node.machine.run("sh", "-c", count).split() == ["1000", "1000", "1000"]

        moved = [Peer(peers[0].node, "198.51.200.1", peers[0].subnets), *peers[2:]]
        with monitoring(machines[0]) as changed:
            node.set_peers(*moved)
            node.set_peers(*moved)
        told = "".join(changed)
        assert "198.51.200.1" in told
        assert all(each in told for each in ("10.208.12.0/22", "10.208.12.1", "198.51.100.3"))
        assert len(changed) <= 5, told

        node.set_peers()
        assert node.machine.run("sh", "-c", count).split() == ["0", "0", "0"]


@contextmanager
def monitoring(machine: Machine) -> Iterator[list[str]]:
    """What changes meanwhile of routes, neighbours and forwarding entries."""
    watch = subprocess.Popen(
        ["nsenter", f"--net={machine.netns}", "ip", "monitor", "route", "neigh"],
        stdout=subprocess.PIPE,
        text=True,
    )
    changed: list[str] = []
    try:
        assert watch.stdout is not None
        while True:  # until it is known to listen
            machine.run("ip", "route", "replace", "203.0.113.77/32", "dev", "uplink")
            machine.run("ip", "route", "delete", "203.0.113.77/32", "dev", "uplink")
            if "203.0.113.77" in watch.stdout.readline():
                break
        yield changed
        machine.run("ip", "route", "replace", "203.0.113.78/32", "dev", "uplink")
        while "203.0.113.78" not in (line := watch.stdout.readline()):
            changed += [line] if "203.0.113.77" not in line and "fe80" not in line else []
        machine.run("ip", "route", "delete", "203.0.113.78/32", "dev", "uplink")
    finally:
        watch.kill()
        watch.wait()
        if watch.stdout:
            watch.stdout.close()


def test_cleanup_leaves_nothing_of_the_tunnel(machines: list[Machine], tmp_path: Path) -> None:
    def picture() -> str:
        more = machines[0].run(
            "sh", "-c", "ip -6 route | grep -v fe80; bridge fdb; ip neigh show nud permanent"
        )
        return machines[0].picture() + more

    before = picture()
    node = Node(machines[0], tmp_path / "one", SUBNETS[0], mode="auto")
    try:
        node.set_peers(
            *(Peer("x", each, (subnet,)) for each, subnet in zip(ADDRESSES[1:], SUBNETS[1:], strict=True))
        )
        node.attach("web")
    finally:
        node.cleanup()
    assert picture() == before
    assert network_lab.mounts(tmp_path) == []


def test_where_the_ledger_is_lost_all_goes_by_its_name(machines: list[Machine], tmp_path: Path) -> None:
    def picture() -> str:
        return (
            machines[0].picture() + machines[0].run("nft", "list", "ruleset") + machines[0].run("ip", "neigh")
        )

    machines[0].run("sh", "-c", "ip link add orchid type bridge; nft add table ip orchard")
    before = picture()
    with opened(machines, tmp_path, "auto", "auto", "auto") as (node, *_):
        node.attach("web")
        node.kill()
        script = "from agent.network import sweep; sweep.clear(); sweep.clear()"
        where = f"{network_lab.ROOT}:{network_lab.ROOT / 'proto'}"
        machines[0].run("env", f"PYTHONPATH={where}", sys.executable, "-c", script)
        assert picture() == before
        sweep.sweep(node.folder / "run", node.folder / "state")


def test_what_an_uplink_that_went_down_took_along_is_there_again(
    machines: list[Machine], tmp_path: Path
) -> None:
    with opened(machines, tmp_path, "auto", "auto", "auto") as (node, neighbour, far):
        here = node.attach("a")
        with monitoring(machines[0]) as changed:
            machines[0].run("ip", "link", "set", "uplink", "down")
            assert "10.208.8.0/22 via" not in machines[0].run("ip", "route")
            machines[0].run("ip", "link", "set", "uplink", "up")
            machines[0].run("ip", "route", "add", "default", "via", "192.0.2.254")
            wait_until(lambda: "10.208.8.0/22 via 192.0.2.2 dev uplink" in machines[0].run("ip", "route"))
        assert any("10.208.8.0/22 via 192.0.2.2" in line for line in changed)
        for other in (neighbour, far):
            with serving(other.attach("b").netns, 80, "there"):
                assert ask(here.netns, other.attach("b").addresses[0], 80).startswith("there")


def test_a_tunnel_that_somebody_removed_is_made_again(machines: list[Machine], tmp_path: Path) -> None:
    with opened(machines, tmp_path, "auto", "auto", "auto") as (node, _, far):
        machines[0].run("ip", "link", "delete", "orch-vxlan")
        there = far.attach("b")
        wait_until(
            lambda: "dev orch-vxlan" in machines[0].run("ip", "route", "get", there.addresses[0], check=False)
        )
        with serving(there.netns, 80, "there"):
            assert ask(node.attach("a").netns, there.addresses[0], 80).startswith("there")


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + network_lab.BOUND_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # what the kernel has is asked for
