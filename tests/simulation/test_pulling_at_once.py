"""Fifty nodes pull 500 MB at once: the registry's own decider, over links of one gigabit that are shared fairly.

A stream goes as fast as both its ends allow and never ahead of what its source has itself. Shares that it does not
use are lost to the others here, so a real network is rather faster.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from controlplane.registry.swarm import Peer, Swarm

LINK = 125e6
"""Bytes a second, each way, of each node and of the control plane."""
LAYERS = 5
LAYER = 100e6
STEP = 0.02
"""Seconds."""
CONTROL_PLANE = "control-plane"


@dataclass
class Stream:
    node: str
    layer: str
    source: str
    got: float = 0.0


@dataclass
class World:
    """What was sent, and when each node was done."""

    nodes: list[str]
    dying: dict[str, float] = field(default_factory=dict)
    swarm: Swarm = field(default_factory=Swarm)
    streams: dict[tuple[str, str], Stream] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    now: float = 0.0

    def run(self, begins: dict[str, float]) -> float:
        """Until every node that lives has all; seconds."""
        waiting = dict(begins)
        while waiting or any(stream.got < LAYER for stream in self.streams.values()):
            for node in [each for each, at in waiting.items() if at <= self.now]:
                del waiting[node]
                for layer in range(LAYERS):
                    self._ask(node, f"sha256:{layer}", [])
            self._bury()
            self._move()
            self.now += STEP
            assert self.now < 1000
        return self.now

    def _ask(self, node: str, layer: str, failed: list[str]) -> None:
        found = self.swarm.source(layer, Peer(node, f"{node}:7423"), self.now, failed=failed)
        stream = self.streams.setdefault((node, layer), Stream(node, layer, ""))
        stream.source = found.name if found else CONTROL_PLANE
        if stream.source in self.dying and self.now >= self.dying[stream.source]:
            self._ask(node, layer, [stream.source])  # nobody answers there

    def _bury(self) -> None:
        dead = {node for node, at in self.dying.items() if self.now >= at}
        self.streams = {key: stream for key, stream in self.streams.items() if stream.node not in dead}
        for stream in list(self.streams.values()):
            if stream.source in dead and stream.got < LAYER:
                self._ask(stream.node, stream.layer, [stream.source])

    def _move(self) -> None:
        moving = [each for each in self.streams.values() if each.got < self._there(each)]
        out, into = Counter(each.source for each in moving), Counter(each.node for each in moving)
        there = {(each.node, each.layer): self._there(each) for each in moving}
        for each in moving:
            most = STEP * LINK / max(out[each.source], into[each.node])
            step = min(most, there[each.node, each.layer] - each.got)
            each.got += step
            self.sent[each.source] += step

    def _there(self, stream: Stream) -> float:
        """How much of the layer its source has."""
        found = self.streams.get((stream.source, stream.layer))
        return LAYER if stream.source == CONTROL_PLANE else found.got if found else 0.0


def pulled_by(count: int, dying: dict[str, float] | None = None, seed: int = 1) -> World:
    lots = random.Random(seed)
    nodes = [f"n{number}" for number in range(count)]
    world = World(nodes, dying or {})
    world.run({node: lots.random() * 0.5 for node in nodes})
    return world


@pytest.mark.parametrize("count", [10, 50, 200])
def test_the_control_plane_sends_two_copies_however_many_nodes_pull(count: int) -> None:
    world = pulled_by(count)

    assert world.sent[CONTROL_PLANE] == pytest.approx(2 * LAYERS * LAYER)


def test_fifty_nodes_take_hardly_longer_than_ten_and_a_tenth_of_what_the_control_plane_alone_would() -> None:
    ten, fifty = pulled_by(10).now, pulled_by(50).now

    alone = 50 * LAYERS * LAYER / LINK
    assert alone == 200.0
    assert fifty < alone / 10
    assert fifty < 1.5 * ten


def test_no_node_sends_much_more_than_it_gets() -> None:
    world = pulled_by(50)

    most = max(sent for node, sent in world.sent.items() if node != CONTROL_PLANE)
    assert most <= 2 * LAYERS * LAYER * 1.001


@pytest.mark.parametrize("seed", range(4))
def test_ten_nodes_that_die_on_the_way_cost_the_others_little(seed: int) -> None:
    lots = random.Random(seed)
    dying = {f"n{number}": 0.5 + lots.random() * 5 for number in lots.sample(range(50), 10)}

    world = pulled_by(50, dying, seed)

    assert {node for node, _ in world.streams} == {f"n{n}" for n in range(50)} - dying.keys()
    assert world.sent[CONTROL_PLANE] <= 6 * LAYERS * LAYER
    assert world.now < 30
