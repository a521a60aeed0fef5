"""Names of others: orch-dns asks the node's resolvers, whatever state they are in; none of them asks it back."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.network.attachment import Attached
from tests.kernel.network_lab import Machine, Node, run_in
from tests.kernel.test_dns import a_resolver, look_up, told, world

pytestmark = pytest.mark.root
__all__ = ["world"]

World = tuple[Node, Attached, Path, Machine]

WAYWARD = """
import socket, sys
inside, upstream, notes = sys.argv[1:]
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.bind((inside, 53))
print("ready", flush=True)
waiting = {}
while True:
    data, asker = asked.recvfrom(4096)
    with open(notes, "a") as file:
        file.write("1")
    if data[2] & 0x80:
        asked.sendto(data, waiting.get(data[:2], asker))
    else:
        waiting[data[:2]] = asker
        asked.sendto(data, (upstream, 53))
"""
PIPELINED = """
import socket, struct, sys, dns.message
names = sys.argv[2:]
with socket.create_connection((sys.argv[1], 53), timeout=9) as stream:
    sent = b""
    for number, name in enumerate(names, 1):
        wire = dns.message.make_query(name, "A", id=number).to_wire()
        sent += struct.pack("!H", len(wire)) + wire
    for at in range(0, len(sent), 7):
        stream.sendall(sent[at:at + 7])
    stream.shutdown(socket.SHUT_WR)
    data = b""
    while piece := stream.recv(65536):
        data += piece
while data:
    (length,) = struct.unpack("!H", data[:2])
    reply = dns.message.from_wire(data[2 : 2 + length])
    print(reply.id, sum(map(len, reply.answer)))
    data = data[2 + length :]
"""


def resolvers(world: World, *servers: str) -> None:
    path = world[0].folder.parent / "resolv.conf"
    half = path.with_name("half")
    half.write_text("".join(f"nameserver {each}\n" for each in servers))
    half.replace(path)


def address_of(task: Attached, name: str = "www.example", way: str = "udp") -> object:
    ((code, answers),) = look_up(task, (name, "A", way))
    return answers[0] if answers else code


def test_the_nodes_resolv_conf_is_followed_at_once(world: World) -> None:
    _, task, asked, outside = world
    outside.run("ip", "address", "add", "192.0.2.54/24", "dev", "uplink")
    with a_resolver(outside.netns, "192.0.2.54", asked, "203.0.113.54"):
        assert address_of(task) == "203.0.113.5"
        resolvers(world, "192.0.2.54")
        assert address_of(task) == "203.0.113.54"
        resolvers(world, "not-an-address", "192.0.2.54", "192.0.2.53")
        assert address_of(task) == "203.0.113.54"
        resolvers(world)
        assert address_of(task) == "SERVFAIL"
        (world[0].folder.parent / "resolv.conf").unlink()
        assert address_of(task) == "SERVFAIL"


@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_a_resolver_that_fails_refuses_or_is_gone_is_passed_over(world: World, way: str) -> None:
    _, task, asked, outside = world
    outside.run("ip", "address", "add", "192.0.2.54/24", "dev", "uplink")
    with a_resolver(outside.netns, "192.0.2.54", asked, "SERVFAIL"):
        resolvers(world, "192.0.2.54", "192.0.2.1", "192.0.2.53")
        assert address_of(task, way=way) == "203.0.113.5"
        resolvers(world, "192.0.2.54")
        assert address_of(task, way=way) == "SERVFAIL"


def test_a_silent_resolver_is_asked_last_for_a_while(world: World) -> None:
    _, task, _, outside = world
    outside.run("ip", "address", "add", "192.0.2.55/24", "dev", "uplink")
    silent = "import socket as s, time; u = s.socket(s.AF_INET, s.SOCK_DGRAM); u.bind(('192.0.2.55', 53)); "
    silent += "print('ready', flush=True); time.sleep(1000)"
    mute = subprocess.Popen(
        ["nsenter", f"--net={outside.netns}", sys.executable, "-S", "-c", silent],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert mute.stdout.readline() == "ready\n"
        resolvers(world, "192.0.2.55", "192.0.2.53")
        questions = [
            ("a.example", "A", "udp"),
            ("b.example", "A", "udp quick"),
            ("c.example", "A", "udp quick"),
        ]
        assert look_up(task, *questions) == [["NOERROR", ["203.0.113.5"]]] * 3, "only the first one waits"
    finally:
        mute.kill()
        mute.wait()
        mute.stdout.close()


def test_a_resolver_on_the_nodes_own_loopback_serves_and_is_not_asked_what_it_asks_us(world: World) -> None:
    node, task, asked, _ = world
    node.call("set_names", told(web=["10.208.4.7"]))
    with a_resolver(node.machine.netns, "127.0.0.53", asked, "203.0.113.53"):
        resolvers(world, "127.0.0.53")
        assert address_of(task) == "203.0.113.53"
        questions = ("www.example", "A", "udp"), ("web.default.orch", "A", "udp")
        assert look_up(task, *questions, netns=node.machine.netns) == [
            ["REFUSED", []],
            ["NOERROR", ["10.208.4.7"]],
        ]


def test_a_way_round_through_a_task_ends(world: World, tmp_path: Path) -> None:
    node, task, _, _ = world
    notes = tmp_path / "round"
    notes.write_text("")
    wayward = node.attach("dns.1")
    resolvers(world, wayward.addresses[0])
    command = [sys.executable, "-S", "-c", WAYWARD, wayward.addresses[0], wayward.gateway, str(notes)]
    running = subprocess.Popen(
        ["nsenter", f"--net={wayward.netns}", *command], stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout.readline() == "ready\n"
        assert address_of(task) == "SERVFAIL"
        assert len(notes.read_text()) < 20
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def test_many_questions_on_one_connection_are_answered_as_the_answers_come(world: World) -> None:
    node, task, _, _ = world
    node.call("set_names", told(web=["10.208.4.7"]))
    names = ["slow.example", "web.default.orch", "www.example", "nobody.orch", "long.example"]

    lines = run_in(task.netns, sys.executable, "-c", PIPELINED, task.gateway, *names).splitlines()

    assert lines[-1] == "1 1", "who is slow keeps nobody waiting"
    assert sorted(lines) == ["1 1", "2 1", "3 1", "4 0", "5 400"]


def test_questions_of_one_task_that_nobody_answers_keep_no_other_waiting(world: World) -> None:
    node, task, _, _ = world
    other = node.attach("other.1")
    ask = "import socket, sys, os, dns.message\n"
    ask += "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], 53))\n"
    ask += "for n in range(200): s.send(dns.message.make_query(f'{n}.silent.example', 'A').to_wire())\n"
    ask += "s.settimeout(9); codes = [s.recv(999)[3] & 15 for _ in range(200)]; print(codes.count(2))\n"
    began = time.monotonic()
    flood = subprocess.Popen(
        ["nsenter", f"--net={other.netns}", sys.executable, "-c", ask, other.gateway],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        while time.monotonic() - began < 2:
            assert address_of(task) == "203.0.113.5"
        assert flood.communicate(timeout=30)[0] == "200\n", "each gets an answer, most of them at once"
    finally:
        flood.kill()
        flood.wait()


FLOOD = """
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 53))
head, end = bytes.fromhex("000101000001000000000000"), bytes.fromhex("0000010001")
good = head + b"\\x03web\\x07default\\x04orch" + end
packets = [good, os.urandom(300), good[:-5], head + b"\\xc0\\x0c" + end[1:], good.replace(b"orch", b"evil")]
print("begun", flush=True)
while True:
    for packet in packets:
        try:
            s.send(packet)
        except OSError:
            pass
"""


def test_a_flood_of_one_task_starves_no_other_and_takes_no_memory(world: World) -> None:
    node, task, _, _ = world
    node.call("set_names", told(web=["10.208.4.7"]))
    other = node.attach("other.1")
    flood = subprocess.Popen(
        ["nsenter", f"--net={other.netns}", sys.executable, "-S", "-c", FLOOD, other.gateway],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert flood.stdout.readline() == "begun\n"
        questions = [("web.default.orch", "A", "udp"), ("web.default.orch", "A", "tcp")] * 50
        assert look_up(task, *questions) == [["NOERROR", ["10.208.4.7"]]] * 100
        rollup = Path(f"/proc/{node.dns_pid()}/smaps_rollup").read_text()
        assert (
            next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) < 20 * 1024
        )
    finally:
        flood.kill()
        flood.wait()
        flood.stdout.close()
    assert "fault" not in (node.folder / "run/dns/log").read_text()
