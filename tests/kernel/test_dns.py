"""orch-dns as a task sees it: asked over UDP and TCP from within a task's network namespace."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.network import sweep
from agent.network.attachment import Attached, NetworkError
from tests.kernel import network_lab
from tests.kernel.network_lab import Machine, Node, run_in

pytestmark = pytest.mark.root

ASK = """
import json, sys
import dns.flags, dns.message, dns.query, dns.rcode
server, questions = sys.argv[1], json.loads(sys.argv[2])
for name, kind, way in questions:
    query = dns.message.make_query(name, kind, use_edns=0 if "edns" in way else -1, payload=1232)
    try:
        ask = dns.query.tcp if "tcp" in way else dns.query.udp
        reply = ask(query, server, timeout=0.5 if "quick" in way else 9)
    except Exception as error:
        print(json.dumps([type(error).__name__, []]))
        continue
    answers = sorted(item.to_text() for rrset in reply.answer for item in rrset)
    code = dns.rcode.to_text(reply.rcode()) + ("+TC" if reply.flags & dns.flags.TC else "")
    print(json.dumps([code, answers]))
"""


ASK_ON = """
import sys
import dns.message, dns.query
def answered(ask):
    for _ in range(3):  # as libc does: the one that was being answered is lost, an unreachable port fails at once
        try:
            return bool(ask(dns.message.make_query("web.default.orch", "A"), sys.argv[1], timeout=5).answer)
        except Exception:
            pass
for way in sys.stdin:
    print(answered(getattr(dns.query, way.strip())), flush=True)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Node, Attached, Path, Machine]]:
    """A node with a task, and a resolver on another machine."""
    with network_lab.lab("192.0.2.1/24", "192.0.2.53/24") as machines:
        resolvers, asked = tmp_path / "resolv.conf", tmp_path / "asked"
        resolvers.write_text("search example\nnameserver 10.208.4.1\nnameserver 192.0.2.53\n")
        asked.write_text("")
        node = None
        with a_resolver(machines[1].netns, "192.0.2.53", asked):
            try:
                node = Node(machines[0], tmp_path / "one", "10.208.4.0/22", 2, resolv_conf=str(resolvers))
                yield node, node.attach("web.1"), asked, machines[1]
            finally:
                if node is not None:
                    node.end()


@contextmanager
def a_resolver(netns: str, address: str, asked: Path, *says: str) -> Iterator[None]:
    """See dns_stub.py."""
    command = [sys.executable, str(Path(__file__).with_name("dns_stub.py")), address, str(asked), *says]
    stub = subprocess.Popen(["nsenter", f"--net={netns}", *command], stdout=subprocess.PIPE, text=True)
    try:
        assert stub.stdout.readline() == "ready\n"
        yield
    finally:
        stub.kill()
        stub.wait()
        stub.stdout.close()


def told(**services: list[str]) -> dict[str, str]:
    """Services of the namespace default without a virtual address, and where their ready tasks are."""
    return {
        f"{name}.default": json.dumps([[], [], [[slot, 1, [each]] for slot, each in enumerate(addresses, 1)]])
        for name, addresses in services.items()
    }


def look_up(task: Attached, *questions: tuple[str, str, str], netns: str = "") -> list[list[object]]:
    output = run_in(netns or task.netns, sys.executable, "-c", ASK, task.gateway, json.dumps(questions))
    return [json.loads(line) for line in output.splitlines()]


def test_the_clusters_names_are_answered_and_others_forwarded(
    world: tuple[Node, Attached, Path, Machine],
) -> None:
    node, task, asked, _ = world
    many = [f"10.208.{number // 250}.{number % 250 + 1}" for number in range(200)]
    node.call("set_names", told(web=["10.208.4.7", "10.208.8.9"], many=many, six=["fd00::5"]))

    assert look_up(
        task,
        ("web.default.orch", "A", "udp"),
        ("WEB.default.orch.", "A", "tcp"),
        ("web.default.orch", "A", "udp edns"),
        ("web.default.orch", "AAAA", "udp"),
        ("six.default.orch", "AAAA", "udp"),
        ("default.orch", "A", "udp"),
        ("nobody.default.orch", "A", "udp edns"),
        ("many.default.orch", "A", "tcp"),
    ) == [
        ["NOERROR", ["10.208.4.7", "10.208.8.9"]],
        ["NOERROR", ["10.208.4.7", "10.208.8.9"]],
        ["NOERROR", ["10.208.4.7", "10.208.8.9"]],
        ["NOERROR", []],
        ["NOERROR", ["fd00::5"]],
        ["NOERROR", []],
        ["NXDOMAIN", []],
        ["NOERROR", sorted(many)],
    ]
    assert asked.read_text() == "", "the cluster's names are nobody else's business"

    short, streamed, cut, long = look_up(
        task,
        ("www.example", "A", "udp edns"),
        ("www.example", "A", "tcp"),
        ("long.example", "A", "udp edns"),
        ("long.example", "A", "tcp"),
    )
    assert short == streamed == ["NOERROR", ["203.0.113.5"]]
    assert cut == ["NOERROR+TC", []]
    assert len(long[1]) == 400


def test_a_resolver_that_is_silent_or_gone_is_a_server_failure(
    world: tuple[Node, Attached, Path, Machine],
) -> None:
    _, task, _, outside = world

    assert look_up(task, ("silent.example", "A", "udp")) == [["SERVFAIL", []]]
    outside.run("ip", "link", "set", "uplink", "down")
    assert look_up(task, ("www.example", "A", "udp"), ("web.orch", "A", "udp")) == [
        ["SERVFAIL", []],
        ["NXDOMAIN", []],
    ]


def test_names_are_answered_while_the_agent_is_away(world: tuple[Node, Attached, Path, Machine]) -> None:
    node, task, _, _ = world
    node.call("set_names", told(web=["10.208.4.7"]))
    node.kill()

    assert look_up(task, ("web.default.orch", "A", "udp")) == [["NOERROR", ["10.208.4.7"]]]
    pid = node.dns_pid()
    node.start()
    assert node.dns_pid() == pid


def test_names_come_back_with_a_killed_orch_dns(world: tuple[Node, Attached, Path, Machine]) -> None:
    node, task, _, _ = world
    node.call("set_names", told(web=["10.208.4.7"]))
    descriptor = os.pidfd_open(node.dns_pid())
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)

    node.call("set_names", told(web=["10.208.4.8"]))
    assert look_up(task, ("web.default.orch", "A", "udp")) == [["NOERROR", ["10.208.4.8"]]]


def test_an_orch_dns_killed_under_an_idle_agent_is_started_again(
    world: tuple[Node, Attached, Path, Machine],
) -> None:
    node, task, _, _ = world
    node.call("set_names", told(web=["10.208.4.7"]))
    killed = node.dns_pid()
    os.kill(killed, signal.SIGKILL)

    answers = (look_up(task, ("web.default.orch", "A", "udp quick")) for _ in range(40))
    assert ["NOERROR", ["10.208.4.7"]] in (answer[0] for answer in answers)
    assert node.dns_pid() != killed


def test_no_question_is_lost_while_orch_dns_is_killed(world: tuple[Node, Attached, Path, Machine]) -> None:
    node, task, _, _ = world
    node.call("set_names", told(web=["10.208.4.7"]))
    node.kill()
    node.start()
    asking = subprocess.Popen(
        ["nsenter", f"--net={task.netns}", sys.executable, "-c", ASK_ON, task.gateway],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for way in ("udp", "tcp", "udp"):
            killed = node.dns_pid()
            os.kill(killed, signal.SIGKILL)
            asking.stdin.write(f"{way}\n")
            asking.stdin.flush()
            assert asking.stdout.readline() == "True\n"
            assert node.dns_pid() != killed
    finally:
        asking.kill()
        asking.wait()
        asking.stdin.close()
        asking.stdout.close()


def test_a_name_server_in_the_way_is_said_so(tmp_path: Path) -> None:
    with (
        network_lab.lab("192.0.2.1/24") as machines,
        network_lab.serving(machines[0].netns, 53, "somebody", "udp"),
        pytest.raises(NetworkError, match=r"port 53 of 10\.208\.4\.1: Address already in use; a name server"),
    ):
        try:
            Node(machines[0], tmp_path / "one", "10.208.4.0/22")
        finally:
            sweep.sweep(tmp_path / "one/run", tmp_path / "one/state")


def test_orch_dns_is_small(world: tuple[Node, Attached, Path, Machine]) -> None:
    node, task, _, _ = world
    node.call("set_names", told(web=[f"10.208.4.{number}" for number in range(2, 250)]))
    look_up(task, ("7.web.default.orch", "A", "tcp"), ("www.example", "A", "udp"))
    rollup = Path(f"/proc/{node.dns_pid()}/smaps_rollup").read_text()
    pss_kib = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))

    assert pss_kib < 15 * 1024
