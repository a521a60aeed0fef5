"""Rules outlive the agent: whoever returns finds, mends, upgrades or takes away what was there."""

import json
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from agent.network.attachment import Published
from tests.kernel.network_lab import Machine, Node, ask, encoded
from tests.kernel.services_lab import ALONE, PUBLISHED, SUBNETS, WEB, program, service, serving_on, tell

pytestmark = pytest.mark.root


def test_killed_again_and_again_while_services_change_no_request_fails(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    """The agent, at moments of chance; the kernel goes on, and who comes back finds what was there."""
    node = nodes[0]
    tasks, client = (
        [nodes[number % 2].attach(f"task{number}") for number in range(3)],
        nodes[1].attach("client"),
    )
    tell(nodes, service(*tasks, ports=PUBLISHED))
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)

    with (
        serving_on("tcp", *tasks),
        program(client.netns, ASKING, WEB, 80) as inside,
        program(machines[2].netns, ASKING, machines[0].address, 8080) as outside,
    ):
        for round_ in range(5):
            node.send(
                "set_services_many",
                [encoded(service(*chance.sample(tasks, 2), ports=PUBLISHED)) for _ in range(20)],
            )
            with suppress(subprocess.TimeoutExpired):  # the wait is the point, nothing is waited for
                node.process.wait(chance.uniform(0.0, 0.05))
            node.kill()
            node.start()
            if round_ % 2:
                node.set_services(service(*tasks, ports=PUBLISHED))
        asked = [ended(each) for each in (inside, outside)]
    assert all(count > 20 and not failures for count, failures in asked), f"{asked}, seed {seed}"


ASKING = """
import json, select, socket, sys
count, failures = 0, []
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as s:
            assert s.recv(99).startswith(b"task"), "empty"
    except Exception as error:
        failures.append(repr(error))
    count += 1
print(json.dumps([count, failures]))
"""


def ended(asking: subprocess.Popen) -> list:
    """How many requests there were, and what failed."""
    asking.stdin.write("enough\n")
    asking.stdin.flush()
    return json.loads(asking.stdout.readline())


@ALONE
def test_an_agent_that_returns_finds_its_tables_and_writes_nothing(nodes: tuple[Node, Node]) -> None:
    node = nodes[0]
    tasks = [node.attach(f"task{number}") for number in range(3)]
    whole = [
        service(*tasks, ports=PUBLISHED),
        service(tasks[0], name="other", address="10.224.0.6", affinity_seconds=60),
    ]
    node.set_services(*whole)
    before = rules_of(node)
    node.kill()
    node.start()
    assert rules_of(node) == before

    node.set_services(*whole)
    assert rules_of(node) == before, "handles and all"
    node.set_services(service(*tasks[1:], ports=PUBLISHED))
    assert "10.224.0.6" not in rules_of(node)


def rules_of(node: Node) -> str:
    return node.machine.run("nft", "-a", "list", "table", "ip", "orch")


@ALONE
def test_rules_of_another_version_are_replaced_without_a_gap(
    nodes: tuple[Node, Node], machines: list[Machine]
) -> None:
    node, task = nodes[0], nodes[0].attach("task")
    node.publish("task", Published("", 9090, 80, "tcp"))
    node.set_services(service(task, ports=PUBLISHED, affinity_seconds=60))
    mark = next(word for word in rules_of(node).split() if word.startswith("version-"))
    node.kill()
    node.machine.run("nft", "rename", "chain", "ip", "orch", mark, "version-of-yesterday")

    with serving_on("tcp", task), program(machines[2].netns, ASKING, machines[0].address, 8080) as asking:
        node.start()
        tables = node.machine.run("nft", "list", "tables")
        assert "orch-next" in tables
        assert "ip orch\n" not in tables
        assert ask(machines[2].netns, machines[0].address, 9090).startswith("task")
        assert ask(machines[0].netns, WEB, 80).startswith("task")
        assert ended(asking)[1] == []


@ALONE
def test_a_host_that_flushed_its_rules_gets_ours_again_with_the_next_change(nodes: tuple[Node, Node]) -> None:
    node, task, client = nodes[0], nodes[0].attach("web"), nodes[0].attach("client")
    node.set_services(service(task))
    node.machine.run("nft", "flush", "ruleset")
    node.set_services(service(task), service(task, name="other", address="10.224.0.6"))

    with serving_on("tcp", task):
        assert ask(client.netns, WEB, 80).startswith("web")
        assert ask(client.netns, "10.224.0.6", 80).startswith("web")


@ALONE
def test_cleanup_takes_route_rules_and_settings_away(machines: list[Machine], tmp_path: Path) -> None:
    before = machines[0].picture()
    node = Node(machines[0], tmp_path / "one", SUBNETS[0])
    try:
        node.set_services(service(node.attach("web"), ports=PUBLISHED))
        assert machines[0].run("sysctl", "-n", "net.ipv4.conf.all.route_localnet") == "1\n"
    finally:
        node.cleanup()

    assert machines[0].picture() == before
    assert machines[0].run("sysctl", "-n", "net.ipv4.conf.all.route_localnet") == "0\n"


@ALONE
@pytest.mark.parametrize("event", ["another version", "a flush"])
def test_what_cleanup_sets_back_is_remembered_over(
    machines: list[Machine], tmp_path: Path, event: str
) -> None:
    machine, setting = machines[0], "net.ipv4.conf.all.route_localnet"
    node = Node(machine, tmp_path / "one", SUBNETS[0])
    try:
        task = node.attach("web")
        node.set_services(service(task, ports=PUBLISHED))
        if event == "a flush":
            machine.run("nft", "flush", "ruleset")
            node.set_services(service(task, ports=PUBLISHED), service(task, name="o", address="10.224.0.6"))
        else:
            mark = next(word for word in rules_of(node).split() if word.startswith("version-"))
            node.kill()
            machine.run("nft", "rename", "chain", "ip", "orch", mark, "version-of-yesterday")
            node.start()
            node.set_services(service(task, ports=PUBLISHED))
        assert machine.run("sysctl", "-n", setting) == "1\n"
    finally:
        node.cleanup()

    assert machine.run("sysctl", "-n", setting) == "0\n"


@ALONE
def test_flushed_rules_come_back_when_the_agent_looks_around(nodes: tuple[Node, Node]) -> None:
    node, task, client = nodes[0], nodes[0].attach("web"), nodes[0].attach("client")
    node.set_services(service(task))
    node.machine.run("nft", "flush", "ruleset")
    node.call("look_around")

    with serving_on("tcp", task):
        assert ask(client.netns, WEB, 80).startswith("web")
