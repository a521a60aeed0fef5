"""What a group has used: processor time, memory, processes, input and output, and what it had to wait for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.runtime import cgroup_files as files
from agent.runtime import cgroup_v1, cgroup_v2

UNLIMITED = -1
_V1_UNLIMITED = 0x7FFFFFFFFFFFF000  # the greatest number of pages, in bytes
_MICROSECOND = 1000  # nanoseconds


@dataclass(frozen=True, slots=True)
class Cpu:
    """Nanoseconds."""

    total: int = 0
    user: int = 0
    system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; a limit of -1 is none."""

    used: int = 0
    most_used: int = 0
    limit: int = UNLIMITED
    failures: int = 0
    """Times that it came up to the limit."""
    swap_used: int = 0
    swap_limit: int = UNLIMITED
    cache: int = 0
    oom_kills: int = 0
    detail: Mapping[str, int] = field(default_factory=dict)
    """memory.stat, in the kernel's words."""

    @property
    def working_set(self) -> int:
        """What is used without what the kernel would give back first: what kubectl top shows."""
        inactive = self.detail.get("total_inactive_file", self.detail.get("inactive_file", 0))
        return max(self.used - inactive, 0)


@dataclass(frozen=True, slots=True)
class Pids:
    current: int = 0
    limit: int = UNLIMITED


@dataclass(frozen=True, slots=True)
class Device:
    """Input and output of one device since the group began."""

    major: int
    minor: int
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True)
class HugePages:
    used: int
    most_used: int
    failures: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Percent of the time that some, or all, processes waited for a resource; totals in microseconds."""

    some_10: float = 0.0
    some_60: float = 0.0
    some_300: float = 0.0
    full_10: float = 0.0
    full_60: float = 0.0
    full_300: float = 0.0
    some_total: int = 0
    full_total: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """All zero for a group that is gone."""

    cpu: Cpu
    memory: Memory
    pids: Pids
    devices: tuple[Device, ...]
    huge_pages: Mapping[str, HugePages]
    pressure: Mapping[str, Waiting]
    """cpu, memory, io; only what this kernel measures."""


def read(cgroups: cgroup_v1.V1 | cgroup_v2.V2, group: str) -> Stats:
    return _read_v1(cgroups, group) if isinstance(cgroups, cgroup_v1.V1) else _read_v2(cgroups, group)


def _read_v2(cgroups: cgroup_v2.V2, group: str) -> Stats:
    path = f"{cgroups.mount}/{group}"
    detail, events = _fields(f"{path}/memory.stat"), _fields(f"{path}/memory.events")
    memory = Memory(
        used=files.number(f"{path}/memory.current"),
        most_used=files.number(f"{path}/memory.peak"),
        limit=_limit(f"{path}/memory.max"),
        failures=events.get("max", 0),
        swap_used=files.number(f"{path}/memory.swap.current"),
        swap_limit=_limit(f"{path}/memory.swap.max"),
        cache=detail.get("file", 0),
        oom_kills=events.get("oom_kill", 0),
        detail=detail,
    )
    return Stats(
        _cpu(_fields(f"{path}/cpu.stat")),
        memory,
        Pids(files.number(f"{path}/pids.current"), _limit(f"{path}/pids.max")),
        tuple(_devices_v2(files.read(f"{path}/io.stat"))),
        _huge_pages(path, "current", "max_usage", "events"),
        pressure(path),
    )


def _read_v1(cgroups: cgroup_v1.V1, group: str) -> Stats:
    path = f"{cgroups.memory}/{group}"
    detail = _fields(f"{path}/memory.stat")
    used, limit = files.number(f"{path}/memory.usage_in_bytes"), _limit(f"{path}/memory.limit_in_bytes")
    both, both_limit = (
        files.number(f"{path}/memory.memsw.usage_in_bytes"),
        _limit(f"{path}/memory.memsw.limit_in_bytes"),
    )
    memory = Memory(
        used=used,
        most_used=files.number(f"{path}/memory.max_usage_in_bytes"),
        limit=limit,
        failures=files.number(f"{path}/memory.failcnt"),
        swap_used=max(both - used, 0),
        swap_limit=both_limit - limit if both_limit >= 0 and limit >= 0 else UNLIMITED,
        cache=detail.get("total_cache", detail.get("cache", 0)),
        oom_kills=cgroups.oom_kills(group),
        detail=detail,
    )
    pids = f"{cgroups.pids_mount}/{group}"
    return Stats(
        _cpu_v1(cgroups, group),
        memory,
        Pids(files.number(f"{pids}/pids.current"), _limit(f"{pids}/pids.max")),
        tuple(_devices_v1(f"{cgroups.places.get('blkio', '')}/{group}")),
        _huge_pages(
            f"{cgroups.places.get('hugetlb', '')}/{group}",
            "usage_in_bytes",
            "max_usage_in_bytes",
            "failcnt",
        ),
        pressure(f"{cgroups.unified}/{group}") if cgroups.unified else {},
    )


def _cpu(found: Mapping[str, int]) -> Cpu:
    return Cpu(
        found.get("usage_usec", 0) * _MICROSECOND,
        found.get("user_usec", 0) * _MICROSECOND,
        found.get("system_usec", 0) * _MICROSECOND,
        found.get("nr_periods", 0),
        found.get("nr_throttled", 0),
        found.get("throttled_usec", 0) * _MICROSECOND,
    )


def _cpu_v1(cgroups: cgroup_v1.V1, group: str) -> Cpu:
    """Time from the v2 mount where there is one, and what was held back from the hierarchy that does so."""
    slowed = _fields(f"{cgroups.cpu}/{group}/cpu.stat")
    if cgroups.unified:
        time = _cpu(_fields(f"{cgroups.unified}/{group}/cpu.stat"))
        total, user, system = time.total, time.user, time.system
    else:
        path = f"{cgroups.accounting}/{group}"
        total = files.number(f"{path}/cpuacct.usage")
        user, system = (files.number(f"{path}/cpuacct.usage_{kind}") for kind in ("user", "sys"))
    return Cpu(
        total,
        user,
        system,
        slowed.get("nr_periods", 0),
        slowed.get("nr_throttled", 0),
        slowed.get("throttled_time", 0),
    )


def _devices_v2(text: str) -> list[Device]:
    """Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`."""
    found = []
    for line in text.splitlines():
        name, *words = line.split()
        values = {
            key: int(value) for key, _, value in (word.partition("=") for word in words) if value.isdigit()
        }
        major, _, minor = name.partition(":")
        if minor.isdigit() and values:
            numbers = [values.get(key, 0) for key in ("rbytes", "wbytes", "rios", "wios")]
            found.append(Device(int(major), int(minor), *numbers))
    return found


def _devices_v1(path: str) -> list[Device]:
    """Lines of `8:0 Read 1`, bytes in one file and requests in another."""
    found: dict[str, dict[str, int]] = {}
    for kind, file in (
        ("bytes", "blkio.throttle.io_service_bytes_recursive"),
        ("count", "blkio.throttle.io_serviced_recursive"),
    ):
        for line in files.read(f"{path}/{file}").splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in {"Read", "Write"}:
                found.setdefault(words[0], {})[f"{words[1]} {kind}"] = int(words[2])
    keys = ("Read bytes", "Write bytes", "Read count", "Write count")
    return [
        Device(*map(int, name.split(":")), *(values.get(key, 0) for key in keys))
        for name, values in found.items()
    ]


def _huge_pages(path: str, used: str, most: str, failures: str) -> dict[str, HugePages]:
    names = [name.split(".") for name in files.names(path) if name.startswith("hugetlb.")]
    sizes = [name[1] for name in names if len(name) == 3 and name[2] == used]
    return {
        size: HugePages(
            files.number(f"{path}/hugetlb.{size}.{used}"),
            files.number(f"{path}/hugetlb.{size}.{most}"),
            files.field(f"{path}/hugetlb.{size}.{failures}", "max")
            if failures == "events"
            else files.number(f"{path}/hugetlb.{size}.{failures}"),
        )
        for size in sizes
    }


def pressure(path: str) -> dict[str, Waiting]:
    """Of a group; of the whole node with /proc/pressure, whose files have no ending."""
    suffix = "" if path == "/proc/pressure" else ".pressure"
    found = {}
    for resource in ("cpu", "memory", "io"):
        if text := files.read(f"{path}/{resource}{suffix}"):
            lines = [line.split() for line in text.splitlines()]
            words = {f"{line[0]}_{key}": value for line in lines for key, value in _pairs(line[1:])}
            found[resource] = Waiting(
                **{name: kind(words.get(word, 0)) for name, (word, kind) in _WAITING.items()}
            )
    return found


_WAITING: dict[str, tuple[str, Any]] = {
    f"{kind}_{name}": (f"{kind}_{word}", number)
    for kind in ("some", "full")
    for name, word, number in (
        ("10", "avg10", float),
        ("60", "avg60", float),
        ("300", "avg300", float),
        ("total", "total", int),
    )
}
"""Field → the kernel's word, and what kind of number it is."""


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (word.partition("=") for word in words)]


def _fields(path: str) -> dict[str, int]:
    pairs = (line.split() for line in files.read(path).splitlines())
    return {words[0]: int(words[1]) for words in pairs if len(words) == 2 and words[1].isdigit()}


def _limit(path: str) -> int:
    text = files.read(path).strip()
    if not text or text == "max":
        return UNLIMITED
    return UNLIMITED if int(text) >= _V1_UNLIMITED else int(text)
