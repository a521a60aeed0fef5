"""Ten thousand tasks come and go on one node: the last cost what the first did, and nothing grows (P46)."""

import time
from pathlib import Path

from deploy.bench.figures import Figure
from deploy.bench.network_lab import Lab
from deploy.bench.network_node import Node

_CYCLES = 10_000
_AT_ONCE = 25
_PARTS = 10
_WARM = 1_000


def measure(lab: Lab, _rounds: int) -> list[Figure]:
    """Once, whatever the rounds: a slope shows in the length."""
    node = lab.routed[1]
    _cycle(node, _WARM)
    before = _held(node)
    rates = []
    for _ in range(_PARTS):
        began = time.perf_counter()
        _cycle(node, _CYCLES // _PARTS)
        rates.append(_CYCLES // _PARTS / (time.perf_counter() - began))
    after = _held(node)
    slope = rates[-1] / rates[0]
    found = [
        Figure(f"{_CYCLES:,} tasks come and go", "1/s", 0.0, tuple(rates), True),
        Figure("the last thousand, of the first", "×", 0.7, (slope,), True),
    ]
    goals = {"memory, KB": 2048.0, "descriptors": 1.0, "threads": 1.0, "mounts": 1.0, "links": 1.0}
    return found + [
        Figure(
            f"what grew in {_CYCLES:,}: {name}", "", goals[name], (float(max(0, after[name] - before[name])),)
        )
        for name in goals
    ]


def _cycle(node: Node, count: int) -> None:
    for first in range(0, count, _AT_ONCE):
        node.call("cycle", [f"cycle.{first + number}" for number in range(_AT_ONCE)])


def _held(node: Node) -> dict[str, int]:
    """By the node's process and in its namespace."""
    node.call("settle")
    process = Path(f"/proc/{node.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return {
        "memory, KB": int(status["VmRSS"].split()[0]),
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "mounts": len((process / "mountinfo").read_text().splitlines()),
        "links": len((process / "net/dev").read_text().splitlines()),
    }
