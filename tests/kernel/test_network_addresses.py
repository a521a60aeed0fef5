"""Addresses are given once, come back on every path, and where there are none left it is said so."""

import random
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.network.attachment import NetworkError
from tests.kernel import network_lab
from tests.kernel.network_lab import Machine, Node, run_in

pytestmark = pytest.mark.root


@pytest.fixture
def machine() -> Iterator[Machine]:
    with network_lab.lab("192.0.2.1/24") as (made,):
        yield made


@pytest.fixture
def small(machine: Machine, tmp_path: Path) -> Iterator[Node]:
    """Thirteen addresses."""
    one = Node(machine, tmp_path / "small", "10.208.4.0/28")
    yield one
    one.end()


def test_a_full_subnet_says_so_and_gives_again_what_comes_back(small: Node) -> None:
    tasks = [f"t{number}" for number in range(13)]
    small.call("attach_many", tasks)
    assert_addresses_are_single(small)

    with pytest.raises(
        NetworkError, match=r"every address of 10\.208\.4\.0/28 is in use \(13\): run fewer tasks"
    ):
        small.attach("one too many")
    small.call("detach", "t5")
    small.call("settle")

    assert small.attach("another").addresses == ("10.208.4.7",)
    assert_addresses_are_single(small)


def test_killed_in_the_middle_of_anything_no_address_is_lost_and_none_is_given_twice(small: Node) -> None:
    """Among thirteen addresses a lost one is missed soon."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    tasks = [f"t{number}" for number in range(13)]
    for _ in range(8):
        some = chance.sample(tasks, 8)
        small.send(chance.choice(("attach_many", "detach_many")), some)
        kill_after(small, chance.uniform(0.0, 0.1))
        small.start()
        small.call("settle")
        assert_addresses_are_single(small)
    small.call("attach_many", tasks)
    assert_addresses_are_single(small)
    assert sorted(small.attached()) == sorted(tasks), f"seed {seed}"


def kill_after(node: Node, seconds: float) -> None:
    """At a moment of chance: the wait is the point, nothing is waited for."""
    with suppress(subprocess.TimeoutExpired):
        node.process.wait(seconds)
    node.kill()


def assert_addresses_are_single(node: Node) -> None:
    """In the node's book, and in each task's own network."""
    given = node.attached()
    addresses = [each.addresses for each in given.values()]
    assert len(addresses) == len(set(addresses))
    for task in given.values():
        assert f"inet {task.addresses[0]}/28" in run_in(task.netns, "ip", "address")
