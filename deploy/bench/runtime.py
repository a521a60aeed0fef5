"""`make bench-runtime`: what a container costs with us, crun, runc and orchrun, side by side in one run.

    deploy/bench/runtime.py [ROUNDS]

Ours is the agent's path: network namespace with an address, user namespace, limits, filter, overlay root. The
others run the same configuration on a plain root, and get no address. A start counts until the payload's exec
for us, and until its first byte for the others, which comes well within a millisecond after it.
All turns are taken in between each other: the machine is as busy for one as for the other.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from deploy.bench import figures, runtime_bundle
from deploy.bench.figures import Figure
from deploy.bench.runtime_callers import Callers
from deploy.bench.runtime_node import Node

_INSIDE = "ORCH_BENCH_INSIDE"
_PEERS = ("crun", "runc", "orchrun")
_STARTS_A_ROUND = 15
_LIVES_A_ROUND = 60
_BURST = 500
_SIDES = (2, 10)


class Samples:
    """What has been measured, by name."""

    def __init__(self) -> None:
        self.starts: dict[str, list[float]] = {}
        self.rates: dict[str, list[float]] = {}
        self.others: dict[str, float] = {}

    def of(self, name: str) -> list[float]:
        return self.starts.setdefault(name, [])

    def rate(self, name: str) -> list[float]:
        return self.rates.setdefault(name, [])


async def measure(directory: Path, rounds: int) -> Samples:
    layer = runtime_bundle.make_layer(directory / "layers" / "busybox")
    parent = f"orch-bench-{uuid.uuid4().hex[:8]}"
    samples = Samples()
    async with Node.open(directory / "node", layer) as node:
        with contextlib.ExitStack() as stack:
            stack.callback(_remove_groups, parent)
            peers = [_callers(stack, name, directory, layer, f"/{parent}/{name}") for name in _PEERS]
            await _warm_up(node, peers)
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", file=sys.stderr)
                await _one_by_one(node, peers, samples)
                await _side_by_side(node, peers, samples)
            await _burst(node, samples)
    return samples


def _callers(stack: contextlib.ExitStack, name: str, directory: Path, layer: Path, group: str) -> Callers:
    for number in range(max(_SIDES)):
        runtime_bundle.make_bundle(directory / name / str(number), layer, f"{group}-{number}")
    callers = Callers(name, directory / name)
    stack.callback(callers.close)
    return callers


async def _warm_up(node: Node, peers: list[Callers]) -> None:
    for peer in peers:
        await asyncio.to_thread(peer.run, 3)
    for _ in range(5):
        await node.timed_life()


async def _one_by_one(node: Node, peers: list[Callers], samples: Samples) -> None:
    for _ in range(_STARTS_A_ROUND):
        samples.of("orch, pool warm").append(await node.timed_life())
        for peer in peers:
            times, rate = await asyncio.to_thread(peer.run, 1)
            samples.of(peer.runtime).extend(times)
            samples.rate(f"{peer.runtime}, one after the other").append(rate)
    samples.rate("orch, one after the other").append(await node.rate(_LIVES_A_ROUND, 1))
    await node.resize_pool(0)
    for _ in range(_STARTS_A_ROUND):
        samples.of("orch, pool empty").append(await node.timed_life())
        times, _ = await asyncio.to_thread(peers[0].run, 1)
        samples.of("crun").extend(times)
    await node.network.settle()
    await node.resize_pool(16)


async def _side_by_side(node: Node, peers: list[Callers], samples: Samples) -> None:
    for side in _SIDES:
        samples.rate(f"orch, {side} side by side").append(await node.rate(_LIVES_A_ROUND, side))
        for peer in peers:
            lives = _LIVES_A_ROUND if peer.runtime == "crun" else _LIVES_A_ROUND // 3
            _, rate = await asyncio.to_thread(peer.run, lives, side)
            samples.rate(f"{peer.runtime}, {side} side by side").append(rate)


async def _burst(node: Node, samples: Samples) -> None:
    """All at once, as after the loss of another node; they sleep, and then end by a kill."""
    await node.network.settle()
    empty = node.memory()
    began = time.perf_counter()
    names = await asyncio.gather(*(node.start("sleep", "600") for _ in range(_BURST)))
    samples.others["burst"] = _BURST / (time.perf_counter() - began)
    samples.others["memory"] = max(0.0, node.memory() - empty) / _BURST
    began = time.perf_counter()
    await asyncio.gather(*(node.kill_and_end(name) for name in names))
    await node.network.settle()
    samples.others["stop"] = _BURST / (time.perf_counter() - began)


def table(samples: Samples) -> list[Figure]:
    """With the goals beside ours; what others reach has none."""
    crun = figures.percentile(samples.starts["crun"], 50)
    best = max(
        Figure("", "", 0, tuple(found)).value for name, found in samples.rates.items() if "crun" in name
    )
    goals = {"orch, pool warm": 0.5 * crun, "orch, pool empty": crun}
    rows = []
    for name, times in samples.starts.items():
        middle = figures.percentile(times, 50)
        rows.append(Figure(f"start: {name}", "ms", goals.get(name, 0.0), tuple(times)))
        goal = 5 * middle if name in goals else 0.0
        rows.append(Figure(f"start, p99: {name}", "ms", goal, (figures.percentile(times, 99),)))
    for name, rates in sorted(samples.rates.items()):
        is_best = name == "orch, 10 side by side"
        rows.append(
            Figure(f"lives: {name}", "1/s", 0.6 * best if is_best else 0.0, tuple(rates), more_is_better=True)
        )
    rows += [
        Figure(f"{_BURST} at once, with their networks", "1/s", 0.6 * best, (samples.others["burst"],), True),
        Figure(f"{_BURST} stopped and cleaned up", "1/s", 0.6 * best, (samples.others["stop"],), True),
        Figure(f"memory per container, {_BURST} running", "MB", 0.3, (samples.others["memory"],)),
    ]
    return rows


def _remove_groups(parent: str) -> None:
    """The parents that the others leave."""
    root = Path("/sys/fs/cgroup")
    for top in (*root.glob(parent), *root.glob(f"*/{parent}")):
        for group in sorted((path for path in (top, *top.rglob("*")) if path.is_dir()), reverse=True):
            group.rmdir()


def go_inside(script: str) -> None:
    """Links, rules and mounts of a bench stay in namespaces of its own: the script starts again in there."""
    if os.geteuid() != 0:
        sys.exit("needs root")
    if _INSIDE not in os.environ:
        again = ["unshare", "--net", "--mount", sys.executable, script, *sys.argv[1:]]
        sys.exit(subprocess.run(again, env={**os.environ, _INSIDE: "1"}, check=False).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def prepare(directory: Path) -> None:
    """All files of everyone in memory: runtimes are compared, not disks.

    It may be entered by all: crun looks for its root as the container's own root, who is nobody here.
    """
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0711", "orch-bench", str(directory)], check=True)


def unmount(directory: Path) -> None:
    subprocess.run(["umount", "--lazy", str(directory)], check=False)


def main() -> None:
    missing = [name for name in ("crun", "runc", "unshare", "busybox") if not shutil.which(name)]
    if missing:
        sys.exit(
            f"bench-runtime needs {', '.join(missing)}; try: apt install crun runc util-linux busybox-static"
        )
    go_inside(__file__)
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as made:
        prepare(Path(made))
        try:
            samples = asyncio.run(measure(Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else 4))
        finally:
            unmount(Path(made))
    found = table(samples)
    print(figures.show(found))
    figures.save(found, ROOT / "build" / "bench-runtime.json")


if __name__ == "__main__":
    main()
