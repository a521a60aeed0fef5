"""What tasks and the node use at the moment: two looks at the kernel's counters, and what lies between them.

Nothing is counted while nobody asks.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.reconciler.asked import Asked
from agent.reconciler.observed import Observed
from agent.runtime import cgroup_stats
from orch import wire
from orch.model.names import TaskId
from orch.v1 import control_pb2, sessions_pb2

SHORTEST_SECONDS = 0.1
LONGEST_SECONDS = 30.0
_UNKNOWN = -1.0
_KIBIBYTE = 1024
_SECTOR_BYTES = 512
_NANOSECONDS = 1e9

Stats = Callable[[str], cgroup_stats.Stats]
"""Of a sandbox or a container, by name."""
LookUp = Callable[[str], tuple[Asked | None, Observed | None]]


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters since the beginning, and amounts of this moment."""

    at: float
    cpu_seconds: float
    memory: int
    working_set: int
    memory_limit: int
    pids: int
    read: int
    written: int
    pressure: Mapping[str, float]


class Meter:
    """Of one node."""

    def __init__(self, node: str, cpu: int, stats: Stats, look_up: LookUp) -> None:
        """`cpu`: thousandths of a core that the node has."""
        self._node = node
        self._cpu = cpu
        self._stats = stats
        self._look_up = look_up

    async def measure(self, ask: sessions_pb2.TopAsk) -> control_pb2.TopReply:
        """Takes as long as the interval that is asked for."""
        if not ask.tasks:
            return await of_node(self._node, ask.interval, self._cpu)
        tasks = [wire.from_wire(each, TaskId) for each in ask.tasks]
        return await of_tasks(tasks, ask.interval, self._stats, self._look_up)


async def of_tasks(
    tasks: Sequence[TaskId], interval: float, stats: Stats, look_up: LookUp
) -> control_pb2.TopReply:
    """Each task as a whole, and each of its running containers."""
    names: list[tuple[TaskId, str, str, int]] = []
    for task in tasks:
        asked, seen = look_up(task.key)
        if asked is None or seen is None:
            continue
        limits = {each.name: each.resources.limits.cpu for each in asked.all_containers()}
        running = [each for each in seen.containers.values() if each.running]
        whole = [limits.get(each.name, 0) for each in running]
        names.append((task, "", task.key, sum(whole) if all(whole) else 0))
        names += [(task, each.name, each.id, limits.get(each.name, 0)) for each in running]

    def look() -> list[Sample]:
        return [_of_group(stats(group)) for _, _, group, _ in names]

    before, after = await _twice(look, interval)
    usages = []
    for (task, container, _, limit), first, second in zip(names, before, after, strict=True):
        usage = _usage(first, second)
        usage.namespace, usage.name, usage.container = task.namespace, task.full_name, container
        usage.cpu_limit = limit
        usages.append(usage)
    return control_pb2.TopReply(usages=usages)


async def of_node(name: str, interval: float, cpu: int) -> control_pb2.TopReply:
    """The whole machine; `cpu`: thousandths of a core that it has."""
    (before,), (after,) = await _twice(lambda: [_of_machine()], interval)
    usage = _usage(before, after)
    usage.name = usage.node = name
    usage.cpu_limit = cpu
    return control_pb2.TopReply(usages=[usage])


async def _twice(look: Callable[[], list[Sample]], interval: float) -> tuple[list[Sample], list[Sample]]:
    before = await asyncio.to_thread(look)
    await asyncio.sleep(min(max(interval, SHORTEST_SECONDS), LONGEST_SECONDS))
    return before, await asyncio.to_thread(look)


def _usage(before: Sample, after: Sample) -> control_pb2.Usage:
    """A counter that went back belongs to a container that began anew: then it is all of this interval's."""
    seconds = after.at - before.at

    def rate(first: float, second: float) -> float:
        return (second - first if second >= first else second) / seconds

    return control_pb2.Usage(
        cpu=rate(before.cpu_seconds, after.cpu_seconds),
        cpu_seconds=after.cpu_seconds,
        memory=after.memory,
        working_set=after.working_set,
        memory_limit=after.memory_limit,
        pids=after.pids,
        read_rate=rate(before.read, after.read),
        write_rate=rate(before.written, after.written),
        cpu_pressure=after.pressure.get("cpu", _UNKNOWN),
        memory_pressure=after.pressure.get("memory", _UNKNOWN),
        io_pressure=after.pressure.get("io", _UNKNOWN),
    )


def _of_group(found: cgroup_stats.Stats) -> Sample:
    return Sample(
        time.monotonic(),
        found.cpu.total / _NANOSECONDS,
        found.memory.used,
        found.memory.working_set,
        max(found.memory.limit, 0),
        found.pids.current,
        sum(each.read_bytes for each in found.devices),
        sum(each.written_bytes for each in found.devices),
        {kind: each.some_10 for kind, each in found.pressure.items()},
    )


def _of_machine() -> Sample:
    rows = (line.split() for line in _text("/proc/meminfo").splitlines())
    memory = {row[0].rstrip(":"): int(row[1]) * _KIBIBYTE for row in rows}
    _, user, nice, system, _, _, *interrupts = _text("/proc/stat").split("\n", 1)[0].split()[:9]
    busy = sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK")
    disks = {path.name for path in Path("/sys/block").iterdir() if not path.name.startswith(("loop", "ram"))}
    moved = [row for row in map(str.split, _text("/proc/diskstats").splitlines()) if row[2] in disks]
    used = memory["MemTotal"] - memory["MemFree"]
    return Sample(
        time.monotonic(),
        busy,
        used,
        memory["MemTotal"] - memory["MemAvailable"],
        memory["MemTotal"],
        int(_text("/proc/loadavg").split()[3].partition("/")[2]),
        sum(int(row[5]) for row in moved) * _SECTOR_BYTES,
        sum(int(row[9]) for row in moved) * _SECTOR_BYTES,
        {kind: each.some_10 for kind, each in cgroup_stats.pressure("/proc/pressure").items()},
    )


def _text(path: str) -> str:
    return Path(path).read_text(encoding="ascii")
