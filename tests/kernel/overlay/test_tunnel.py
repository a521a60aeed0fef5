"""The tunnel carries what it should and nothing else: no floods, no strangers, nobody else's port."""

import json
from pathlib import Path

import pytest

from agent.network import peering
from agent.network.attachment import NetworkError, Peer
from tests.kernel.network_lab import Machine, Node, ask, run_in, serving
from tests.kernel.overlay_lab import SUBNETS, assert_all_reach_all, opened, peer_of

pytestmark = pytest.mark.root


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
