"""Nodes move, agents return, links go down: routes and the tunnel follow, and go without a trace."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from agent.network import sweep
from agent.network.attachment import Peer
from tests.kernel import network_lab
from tests.kernel.network_lab import Machine, Node, ask, serving
from tests.kernel.overlay_lab import ADDRESSES, SUBNETS, introduce, opened, peer_of

pytestmark = pytest.mark.root


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
