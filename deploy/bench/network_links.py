"""From container to container: on two nodes through VXLAN and by route, beside bare namespaces (network_bare.py)."""

from contextlib import ExitStack
from pathlib import Path

from deploy.bench import figures, network_bare, network_flows
from deploy.bench.figures import Figure
from deploy.bench.network_lab import Lab

_FLOW_SECONDS = 1.0
_WORDS = 4000
_OF_BARE = 0.8
_LATENCY_OF_BARE = 1.15

OVERLAY, ROUTE, ONE_NODE = "orch, two nodes, VXLAN", "orch, two nodes, route", "orch, one node"
BARE, BARE_TWO, BARE_VXLAN = "bare, one bridge", "bare, two bridges", "bare, VXLAN"

Ends = tuple[Path, str]
"""Who sends, and the address that takes."""


def measure(lab: Lab, rounds: int) -> list[Figure]:
    """All take turns in each round: the machine is as busy for one as for the other."""
    with ExitStack() as closing:
        ends = _ends(lab, closing)
        flows: dict[str, list[float]] = {name: [] for name in ends}
        words: dict[str, list[float]] = {name: [] for name in ends}
        for number in range(rounds):
            for name in _turned(list(ends), number):
                netns, address = ends[name]
                flows[name].append(network_flows.gigabits(netns, address, _FLOW_SECONDS))
                words[name].append(network_flows.microseconds(netns, address, _WORDS))
    found = [Figure(f"throughput: {name}", "Gbit/s", 0.0, tuple(each), True) for name, each in flows.items()]
    found += [Figure(f"to and fro: {name}", "µs", 0.0, tuple(each)) for name, each in words.items()]
    for base in (BARE, BARE_TWO, BARE_VXLAN):
        rates = figures.ratios(flows[OVERLAY], flows[base])
        found.append(Figure(f"throughput: VXLAN / {base}", "×", _OF_BARE, rates, True))
    for base in (BARE, BARE_TWO, BARE_VXLAN):
        times = figures.ratios(words[OVERLAY], words[base])
        found.append(Figure(f"to and fro: VXLAN / {base}", "×", _LATENCY_OF_BARE, times))
    return found


def _ends(lab: Lab, closing: ExitStack) -> dict[str, Ends]:
    ends: dict[str, Ends] = {}
    kinds = {BARE: network_bare.one, BARE_TWO: network_bare.two, BARE_VXLAN: network_bare.vxlan}
    for name, kind in kinds.items():
        pair = kind(closing, lab.folder)
        closing.enter_context(network_flows.sink(pair.there, pair.address))
        ends[name] = (pair.here, pair.address)
    one = lab.routed[0]
    (here, _), (there, address) = one.attach("here"), one.attach("there")
    closing.enter_context(network_flows.sink(there, address))
    ends[ONE_NODE] = (here, address)
    for name, nodes in ((ROUTE, lab.routed), (OVERLAY, lab.tunnelled)):
        (netns, _), (there, address) = nodes[0].attach("sender"), nodes[1].attach("taker")
        closing.enter_context(network_flows.sink(there, address))
        ends[name] = (netns, address)
    return ends


def _turned(names: list[str], number: int) -> list[str]:
    first = number % len(names)
    return names[first:] + names[:first]
