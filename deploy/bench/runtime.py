"""What a start costs in the runtime alone: `true` launched through the shim, on an overlay root of busybox.

    deploy/bench/runtime.py [STARTS] [CODE]     CODE: another tree of this project, to compare side by side

Prints p50, p99 and the throughput side by side, and what the shim holds of memory.
"""

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

CODE = sys.argv[2] if len(sys.argv) > 2 else str(Path(__file__).resolve().parents[2])
sys.path.insert(0, CODE)

from agent.runtime import client, spec
from agent.runtime.container import Launch

_SIDE_BY_SIDE = 10
_WARM_UP = 10


def a_layer(directory: Path) -> Path:
    (directory / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", directory / "bin" / "busybox")
    (directory / "bin" / "true").hardlink_to(directory / "bin" / "busybox")
    return directory


async def life(runtime: client.Runtime, layer: Path, directory: Path, name: str) -> float:
    """Seconds from launch until its payload has been executed; then it is waited for and removed."""
    launch = Launch(name, name, spec.config(["true"]), (str(layer),), str(directory / "logs"))
    began = time.perf_counter()
    await runtime.launch(launch)
    took = time.perf_counter() - began
    await runtime.wait(name)
    await runtime.remove(name)
    await runtime.remove_sandbox(name)
    return took


def memory_of(run_dir: Path) -> int:
    """PSS of the shim in KiB."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and f"orch-shim\0{run_dir}".encode() in (process / "cmdline").read_bytes():
            rollup = (process / "smaps_rollup").read_text()
            return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return 0


async def measure(directory: Path, starts: int) -> None:
    layer = a_layer(directory / "layer")
    runtime = await client.Runtime.open(
        run_dir=directory / "run",
        state_dir=directory / "state",
        cgroup_root=f"orch-bench-{uuid.uuid4().hex[:8]}/node",
        on_exit=lambda _: None,
    )
    try:
        for number in range(_WARM_UP):
            await life(runtime, layer, directory, f"warm-{number}")
        took = [await life(runtime, layer, directory, f"c{number}") for number in range(starts)]
        began = time.perf_counter()

        async def worker(which: int) -> None:
            for number in range(starts // _SIDE_BY_SIDE):
                await life(runtime, layer, directory, f"w{which}-{number}")

        await asyncio.gather(*(worker(which) for which in range(_SIDE_BY_SIDE)))
        rate = starts // _SIDE_BY_SIDE * _SIDE_BY_SIDE / (time.perf_counter() - began)
        memory = memory_of(directory / "run")
    finally:
        await runtime.shutdown()
    took.sort()
    print(
        f"p50 {statistics.median(took) * 1e3:.1f} ms  p99 {took[len(took) * 99 // 100] * 1e3:.1f} ms  "
        f"{rate:.0f} lives a second, {_SIDE_BY_SIDE} side by side  shim {memory} KiB PSS"
    )


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("needs root")
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as made:
        asyncio.run(measure(Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else 100))
