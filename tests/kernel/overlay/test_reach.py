"""Tasks of nodes in different rooms reach each other through VXLAN, those of one room by plain routes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agent.network.attachment import Peer
from tests.kernel.network_lab import Machine, Node, run_in
from tests.kernel.overlay_lab import SUBNETS, assert_all_reach_all, introduce, mtu, opened, peer_of
from tests.kernel.routed_lab import six

pytestmark = pytest.mark.root


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
