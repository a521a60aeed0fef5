"""A cluster of a thousand nodes, as one of them programs it: all at once, with one node changed, and with nothing."""

from ipaddress import ip_network
from typing import Any

from deploy.bench.figures import Figure
from deploy.bench.network_lab import Lab

_NODES = 1000
_ALL_SECONDS = 1.0
_ONE_SECONDS = 0.5

Peer = dict[str, Any]


def measure(lab: Lab, rounds: int) -> list[Figure]:
    """Times of `set_peers`, a call of the agent's network, on a real kernel."""
    node = lab.tunnelled[2]
    before = [each.as_peer() for each in lab.tunnelled if each is not node]
    peers = [*before, *_strangers()]
    times: dict[str, list[float]] = {"all": [], "one": [], "none": [], "gone": []}
    for number in range(rounds):
        times["all"].append(node.timed("set_peers", peers)[1])
        moved = [*peers[:-1], {**peers[-1], "address": f"203.0.113.{number + 1}"}]
        times["one"].append(node.timed("set_peers", moved)[1])
        times["none"].append(node.timed("set_peers", moved)[1])
        times["gone"].append(node.timed("set_peers", before)[1])
    entries = f"{_NODES:,} nodes, {3 * _NODES:,} entries"
    return [
        Figure(f"{entries}: all are new", "s", _ALL_SECONDS, tuple(times["all"])),
        Figure(f"{entries}: one has moved", "s", _ONE_SECONDS, tuple(times["one"])),
        Figure(f"{entries}: nothing has changed", "s", _ONE_SECONDS, tuple(times["none"])),
        Figure(f"{entries}: all are gone", "s", _ALL_SECONDS, tuple(times["gone"])),
    ]


def _strangers() -> list[Peer]:
    """Nobody is there: what leads to them is written all the same."""
    subnets = list(ip_network("10.208.0.0/12").subnets(new_prefix=22))[-_NODES:]
    return [
        {"node": f"n{at}", "address": f"198.18.{at // 250}.{at % 250 + 1}", "subnets": [str(subnet)]}
        for at, subnet in enumerate(subnets)
    ]
