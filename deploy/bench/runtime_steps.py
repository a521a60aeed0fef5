"""What each step of a start costs, for docs/how-a-container-starts.md: a table in Markdown.

    deploy/bench/runtime_steps.py [STARTS]

One container after the other, the pool of networks full. Medians, so the parts need not add up exactly.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from agent.runtime import plan, spawn
from agent.runtime.container import Launch
from deploy.bench import runtime, runtime_bundle, runtime_steps_inside
from deploy.bench.runtime_node import Node

_BOOT = spawn._BOOT  # noqa: SLF001  the shim alone is started in another way
_PAUSE_SECONDS = 0.1


class Tables:
    """Milliseconds of each step, a sample for each start."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[float]] = {}

    def note(self, who: str, what: str, seconds: float) -> None:
        self.rows.setdefault((who, what), []).append(seconds * 1e3)

    def show(self) -> str:
        lines = ["| Who | Step | ms |", "|---|---|---:|"]
        for (who, what), samples in self.rows.items():
            indent = "&nbsp;&nbsp;" if what.startswith(" ") else ""
            lines.append(f"| {who} | {indent}{what.strip()} | {statistics.median(samples):.2f} |")
        return "\n".join(lines)


async def _one(node: Node, notes: Path, table: Tables, number: int) -> None:
    name = f"step{number}"
    began = time.monotonic()
    place = await node.network.attach(name)
    attached = time.monotonic()
    config = runtime_bundle.config(["echo"], network=place.netns, first_id=place.first_id)
    launch = Launch(name, name, config, (str(node.layer),), str(node.directory / "logs" / name))
    plan.plan(launch)
    planned = time.monotonic()
    await node.runtime.launch(launch)
    answered = time.monotonic()
    ended = answered - (planned - attached) / 2  # the plan has been made twice
    table.note("agent", "a network from the pool, and its record", attached - began)
    table.note("agent", "configuration and plan", planned - attached)
    steps = runtime_steps_inside.read(await asyncio.to_thread(notes.read_bytes))
    table.note("agent", "the wish on its way to the shim", steps[0][0] - planned)
    before = "", 0.0
    for (who, _, _, what), (start, stop) in zip(runtime_steps_inside.STEPS, steps, strict=True):
        if who == "child" and before[0] == "shim":
            table.note(who, "from the call of clone to its first step", start - steps[2][0])
        table.note(who, what, stop - start)
        before = who, stop
    table.note("all", "exec, and the word of it on its way back to the agent", answered - before[1])
    table.note("all", "from the wish to the payload's exec, and the agent's knowing of it", ended - began)
    await node.end(name)


async def measure(directory: Path, starts: int) -> Tables:
    notes = directory / "notes"
    notes.write_bytes(bytes(runtime_steps_inside.size()))
    spawn._BOOT = (  # noqa: SLF001
        "import sys; sys.path[:0] = sys.argv[1:2]\n"
        f"if '{{0}}' != 'shim':\n    {_BOOT.partition('; ')[2].partition('; ')[2]}\n"
        "else:\n    from deploy.bench import runtime_steps_inside as inside\n"
        f"    inside.main([{str(notes)!r}, *sys.argv[3:]])\n"
    )
    layer = runtime_bundle.make_layer(directory / "layers" / "busybox")
    table = Tables()
    async with Node.open(directory / "node", layer) as node:
        for _ in range(5):
            await node.timed_life()
        for number in range(starts):
            await _one(node, notes, table, number)
            await asyncio.sleep(_PAUSE_SECONDS)
    return table


def main() -> None:
    runtime.go_inside(__file__)
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as made:
        runtime.prepare(Path(made))
        try:
            table = asyncio.run(measure(Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else 50))
        finally:
            runtime.unmount(Path(made))
    print(table.show())


if __name__ == "__main__":
    main()
