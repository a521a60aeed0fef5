"""Resources, whose words are those of cgroup v1 → the files of cgroup v2 (pure)."""

from agent.runtime import limits_shared, refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

WHERE = limits_shared.WHERE
_ONLY_V1 = {
    "cpu": ("realtimeRuntime", "realtimePeriod"),
    "memory": ("swappiness", "disableOOMKiller"),
    "blockIO": ("leafWeight",),
    "network": ("classID", "priorities"),
}


def rows(resources: "Mapping[str, Any]") -> "Iterator[list[str]]":
    """What `unified` says comes last, and so wins."""
    for name, keys in _ONLY_V1.items():
        found = limits_shared.part(resources, name)
        for key in keys:
            if found.get(key) not in (None, 0, False, []) or (key == "swappiness" and found.get(key) == 0):
                why = "is a limit of cgroup v1, and this machine has v2, which knows nothing like it; take it out"
                raise refusals.refused(f"{WHERE}{name}.{key}", why)
    yield from _cpu(limits_shared.part(resources, "cpu"))
    yield from _memory(limits_shared.part(resources, "memory"))
    if limit := limits_shared.part(resources, "pids").get("limit"):
        yield ["pids", "pids.max", str(limit) if limit > 0 else "max", f"{WHERE}pids.limit"]
    yield from _io(limits_shared.part(resources, "blockIO"))
    for entry in resources.get("hugepageLimits") or []:
        size = limits_shared.page_size(entry)
        key, value = f"{WHERE}hugepageLimits.{size}", str(entry["limit"])
        yield ["hugetlb", f"hugetlb.{size}.max", value, key]
        yield ["hugetlb", f"hugetlb.{size}.rsvd.max", value, ""]
    yield from limits_shared.rdma(resources)
    yield from _unified(limits_shared.part(resources, "unified"))


def weight(shares: int) -> int:
    """v1 shares (2..262144, default 1024) as v2 weight (1..10000), as runc and crun convert them."""
    bounded = min(max(shares, 2), 262_144)
    return 1 + ((bounded - 2) * 9999) // 262_142


def io_weight(block_weight: int) -> int:
    """v1 weight (10..1000) as v2 weight (1..10000), as runc and crun convert them."""
    return 1 + (min(max(block_weight, 10), 1000) - 10) * 9999 // 990


def _cpu(cpu: "Mapping[str, Any]") -> "Iterator[list[str]]":
    if cpu.get("idle"):
        yield ["cpu", "cpu.idle", str(cpu["idle"]), f"{WHERE}cpu.idle"]
    elif cpu.get("shares"):
        yield ["cpu", "cpu.weight", str(weight(cpu["shares"])), f"{WHERE}cpu.shares"]
    if cpu.get("quota") or cpu.get("period"):
        quota = str(cpu["quota"]) if cpu.get("quota", -1) > 0 else "max"
        yield ["cpu", "cpu.max", f"{quota} {cpu.get('period') or 100_000}", f"{WHERE}cpu.quota"]
    if cpu.get("burst"):
        yield ["cpu", "cpu.max.burst", str(cpu["burst"]), f"{WHERE}cpu.burst"]
    for name in ("cpus", "mems"):
        if cpu.get(name):
            yield ["cpuset", f"cpuset.{name}", cpu[name], f"{WHERE}cpu.{name}"]


def _memory(memory: "Mapping[str, Any]") -> "Iterator[list[str]]":
    limit, both = memory.get("limit") or 0, limits_shared.swap(memory)
    yield from limits_shared.before_update(memory, "memory.current")
    if limit:
        yield ["memory", "memory.max", str(limit) if limit > 0 else "max", f"{WHERE}memory.limit"]
    if both is not None:
        alone = "max" if both < 0 else str(both - limit)
        key = f"{WHERE}memory.swap" if both > limit else ""
        yield ["memory", "memory.swap.max", alone, key]
    if memory.get("reservation"):
        yield ["memory", "memory.low", str(memory["reservation"]), f"{WHERE}memory.reservation"]


def _io(block: "Mapping[str, Any]") -> "Iterator[list[str]]":
    key = f"{WHERE}blockIO."
    if found := block.get("weight"):
        yield ["io", "io.bfq.weight|io.weight", f"{found}|{io_weight(found)}", f"{key}weight"]
    for device, found in limits_shared.devices(block.get("weightDevice"), "weight"):
        value = f"{device} {found}|{device} {io_weight(found)}"
        yield ["io", "io.bfq.weight|io.weight", value, f"{key}weightDevice"]
    for name, (_, word) in limits_shared.THROTTLES.items():
        for device, rate in limits_shared.devices(block.get(name), "rate"):
            yield ["io", "io.max", f"{device} {word}={rate or 'max'}", f"{key}{name}"]


def _unified(unified: "Mapping[str, Any]") -> "Iterator[list[str]]":
    for file, value in unified.items():
        key = f"{WHERE}unified.{file}"
        if "/" in file or "." not in file or file.startswith(".") or "|" in file:
            raise refusals.refused(key, "is not the name of a file of cgroup v2, like memory.high")
        controller = file.partition(".")[0]
        if file in {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "cgroup.kill"}:
            raise refusals.refused(key, "is no limit; the runtime writes it itself")
        for line in str(value).splitlines():
            yield ["" if controller == "cgroup" else controller, file, line, key]
