"""From container to container: on two nodes through VXLAN and by route, beside two bare namespaces on one bridge."""

from contextlib import ExitStack
from pathlib import Path

from deploy.bench import figures, network_flows
from deploy.bench.figures import Figure
from deploy.bench.network_lab import BARE, Lab

_FLOW_SECONDS = 1.0
_WORDS = 4000
_OF_BARE = 0.8
_LATENCY_OF_BARE = 1.15

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
    for name in list(ends)[1:]:
        bound = _OF_BARE if name == "VXLAN" else 0.0
        rates = figures.ratios(flows[name], flows["bare"])
        found.append(Figure(f"throughput: {name}, of bare", "×", bound, rates, True))
        bound = _LATENCY_OF_BARE if name == "VXLAN" else 0.0
        found.append(
            Figure(f"to and fro: {name}, of bare", "×", bound, figures.ratios(words[name], words["bare"]))
        )
    return found


def _ends(lab: Lab, closing: ExitStack) -> dict[str, Ends]:
    closing.enter_context(network_flows.sink(lab.bare[1], BARE))
    ends = {"bare": (lab.bare[0], BARE)}
    one = lab.routed[0]
    (here, _), (there, address) = one.attach("here"), one.attach("there")
    closing.enter_context(network_flows.sink(there, address))
    ends["one node"] = (here, address)
    for name, nodes in (("route", lab.routed), ("VXLAN", lab.tunnelled)):
        (netns, _), (there, address) = nodes[0].attach("sender"), nodes[1].attach("taker")
        closing.enter_context(network_flows.sink(there, address))
        ends[name] = (netns, address)
    return ends


def _turned(names: list[str], number: int) -> list[str]:
    first = number % len(names)
    return names[first:] + names[:first]
