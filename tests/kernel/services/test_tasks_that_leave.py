"""Tasks leave or die: conversations go on, move or end with a word, and new ones go to who is left."""

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import pytest

from agent.network.attachment import Attached
from orch.model.assignment import Endpoint, ServiceEndpoints
from orch.model.policy import PortSpec
from tests.kernel.network_lab import Machine, Node, ask
from tests.kernel.services_lab import (
    ALONE,
    BOTH_WAYS,
    PUBLISHED,
    WEB,
    ask_often,
    program,
    refusal,
    service,
    serving_on,
    tell,
)

pytestmark = pytest.mark.root


def refused_by(node: Node) -> bool:
    """Whether a refusal is kept back there."""
    return "elements" in node.machine.run(
        "sh", "-c", "nft list set ip orch refused || nft list set ip orch-next refused"
    )


@BOTH_WAYS
@pytest.mark.parametrize("client", ["task beside", "task elsewhere", "the node", "outside"])
def test_who_came_to_a_task_that_has_just_died_is_led_to_another_at_the_second_try(
    nodes: tuple[Node, Node], machines: list[Machine], client: str
) -> None:
    """The tables know of a death some milliseconds after it: until then the dead one's refusal is not passed on."""
    dead, live = nodes[0].attach("dead"), nodes[1].attach("live")
    host, port, asked = WEB, 80, nodes[0]
    match client:
        case "task beside":
            netns = nodes[0].attach("client").netns
        case "task elsewhere":
            netns, asked = nodes[1].attach("client").netns, nodes[1]
        case "the node":
            netns = machines[0].netns
        case _:
            netns, host, port = machines[2].netns, machines[0].address, 8080

    def led() -> str:
        """A second is long, but not on every machine long enough."""
        tell(nodes, service(dead, ports=PUBLISHED))
        asked.machine.run("sh", "-c", "nft flush set ip orch refused || nft flush set ip orch-next refused")
        asking = pool.submit(ask, netns, host, port)
        deadline = time.monotonic() + 30
        while not refused_by(asked):
            assert time.monotonic() < deadline
            assert not asking.done(), asking.result()
        tell(nodes, service(live, ports=PUBLISHED))
        return asking.result()

    with ThreadPoolExecutor(1) as pool, serving_on("tcp", live):
        for _ in range(5):
            with suppress(AssertionError):
                assert led().startswith("live")
                return
        assert led().startswith("live")


def test_a_task_that_goes_on_refusing_is_believed(nodes: tuple[Node, Node], machines: list[Machine]) -> None:
    task, client = nodes[0].attach("web"), nodes[1].attach("client")
    tell(nodes, service(task))

    assert refusal(client.netns, WEB, 4444) < 4
    assert refusal(client.netns, task.addresses[0], 4444) < 1, "nobody led there"


LINE_CLIENT = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((host, port))
for line in sys.stdin:
    try:
        s.send(line.encode())
        data = s.recv(999).decode()
        print(data.strip() if data else "closed", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""
ECHO_SERVER = """
import socket, sys, threading
kind, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.bind(("0.0.0.0", port))
def serve(c):
    while data := c.recv(999): c.sendall(name + b"\\n")
if kind == "tcp":
    s.listen()
    print("ready", flush=True)
    while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
print("ready", flush=True)
while True:
    _, who = s.recvfrom(999)
    s.sendto(name + b"\\n", who)
"""


@contextmanager
def echoing(kind: str, *places: Attached) -> Iterator[None]:
    with ExitStack() as stack:
        for place in places:
            echo = stack.enter_context(program(place.netns, ECHO_SERVER, kind, 80, place.task))
            assert echo.stdout.readline() == "ready\n"
        yield


def say(client: subprocess.Popen) -> str:
    """Who answers on the client's open socket."""
    client.stdin.write("hello\n")
    client.stdin.flush()
    return client.stdout.readline().strip()


def test_connections_of_a_leaving_task_go_on_and_no_new_one_comes(nodes: tuple[Node, Node]) -> None:
    leaving, staying, client = (
        nodes[0].attach("leaving"),
        nodes[1].attach("staying"),
        nodes[1].attach("client"),
    )
    tell(nodes, service(leaving))

    with echoing("tcp", leaving, staying), program(client.netns, LINE_CLIENT, "tcp", WEB, 80) as connection:
        assert say(connection) == "leaving"
        left = replace(service(leaving, staying), endpoints=leaves(service(leaving, staying), leaving))
        tell(nodes, left)
        assert say(connection) == "leaving"
        with serving_on("tcp", staying, leaving, port=81):
            assert {each.split()[0] for each in ask_often(client.netns, WEB, 81, 30)} == {"staying"}
        assert say(connection) == "leaving"


def leaves(whole: ServiceEndpoints, place: Attached) -> tuple[Endpoint, ...]:
    return tuple(
        replace(each, ready=False) if each.addresses == place.addresses else each for each in whole.endpoints
    )


@pytest.mark.parametrize("where", ["virtual address", "published port", "published port of the task's node"])
def test_a_client_of_udp_moves_when_its_task_leaves(
    nodes: tuple[Node, Node], machines: list[Machine], where: str
) -> None:
    one, two, client = nodes[0].attach("one"), nodes[1].attach("two"), nodes[1].attach("client")
    ports = (PortSpec(target=80, published=8080, mode="ingress", protocol="udp"),)
    tell(nodes, service(one, ports=ports))
    netns, host, port = {
        "virtual address": (client.netns, WEB, 80),
        "published port": (machines[2].netns, machines[1].address, 8080),
        "published port of the task's node": (machines[2].netns, machines[0].address, 8080),
    }[where]

    with echoing("udp", one, two), program(netns, LINE_CLIENT, "udp", host, port) as flow:
        assert say(flow) == "one"
        tell(nodes, service(two, ports=ports))
        assert say(flow) == "two"
        tell(nodes, service(one, two, ports=ports))
        assert say(flow) == "two", "nobody moves without need"


@ALONE  # the kernel says only now and then that nobody listens
def test_a_flow_that_came_before_the_port_was_published_is_led_once_it_is(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    task = nodes[0].attach("web")
    ports = (PortSpec(target=80, published=8080, mode="ingress", protocol="udp"),)

    with (
        echoing("udp", task),
        program(machines[2].netns, LINE_CLIENT, "udp", machines[0].address, 8080) as flow,
    ):
        assert say(flow) == "ConnectionRefusedError"
        tell(nodes, service(task, ports=ports))
        assert say(flow) == "web"


@BOTH_WAYS
def test_clients_of_a_task_that_died_are_told_so(nodes: tuple[Node, Node], machines: list[Machine]) -> None:
    """Its node lost, say: nobody there can tell them."""
    dead, client = nodes[0].attach("dead"), nodes[1].attach("client")
    tell(nodes, service(dead, ports=PUBLISHED))

    with (
        echoing("tcp", dead),
        program(client.netns, LINE_CLIENT, "tcp", WEB, 80) as inside,
        program(machines[2].netns, LINE_CLIENT, "tcp", machines[1].address, 8080) as outside,
        program(machines[1].netns, LINE_CLIENT, "tcp", WEB, 80) as host,
    ):
        assert [say(each) for each in (inside, outside, host)] == ["dead"] * 3
        machines[0].run(
            "nft", "table ip lost { chain lose { type filter hook prerouting priority raw; policy drop; }; }"
        )
        nodes[1].set_services(service(ports=PUBLISHED))
        assert [say(each) for each in (inside, outside, host)] == ["ConnectionResetError"] * 3
        machines[0].run("nft", "delete table ip lost")
        nodes[1].set_services(service(dead, ports=PUBLISHED))
        with program(client.netns, LINE_CLIENT, "tcp", WEB, 80) as again:
            assert say(again) == "dead", "an address that is used again is used"
