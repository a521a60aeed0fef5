"""Resources → the files of cgroup v1 (pure)."""

from agent.runtime import limits_shared, refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

WHERE = limits_shared.WHERE
_CPU = {
    "shares": "cpu.shares",
    "realtimePeriod": "cpu.rt_period_us",
    "realtimeRuntime": "cpu.rt_runtime_us",
    "period": "cpu.cfs_period_us",
    "quota": "cpu.cfs_quota_us",
    "burst": "cpu.cfs_burst_us",
}
_MOST_SHARES = 262_144


def rows(resources: "Mapping[str, Any]") -> "Iterator[list[str]]":
    """In an order that suits a new group."""
    if resources.get("unified"):
        why = "holds files of cgroup v2, and this machine has v1; use the other keys"
        raise refusals.refused(f"{WHERE}unified", why)
    yield from _cpu(limits_shared.part(resources, "cpu"))
    yield from _memory(limits_shared.part(resources, "memory"))
    yield from _pids(limits_shared.part(resources, "pids"))
    yield from _block(limits_shared.part(resources, "blockIO"))
    for entry in resources.get("hugepageLimits") or []:
        size = limits_shared.page_size(entry)
        key, value = f"{WHERE}hugepageLimits.{size}", str(entry["limit"])
        yield ["hugetlb", f"hugetlb.{size}.limit_in_bytes", value, key]
        yield ["hugetlb", f"hugetlb.{size}.rsvd.limit_in_bytes", value, ""]
    yield from _network(limits_shared.part(resources, "network"))
    yield from limits_shared.rdma(resources)


def _cpu(cpu: "Mapping[str, Any]") -> "Iterator[list[str]]":
    for name in ("cpus", "mems"):
        if cpu.get(name):
            yield ["cpuset", f"cpuset.{name}", cpu[name], f"{WHERE}cpu.{name}"]
    if cpu.get("idle"):
        yield ["cpu", "cpu.idle", str(cpu["idle"]), f"{WHERE}cpu.idle"]
    for key, file in _CPU.items():
        if value := cpu.get(key):
            if key == "shares":
                value = min(max(value, 2), _MOST_SHARES)
            if key == "shares" and cpu.get("idle"):
                continue  # an idle group has the smallest weight there is; the kernel refuses another
            yield ["cpu", file, str(value), f"{WHERE}cpu.{key}"]


def _memory(memory: "Mapping[str, Any]") -> "Iterator[list[str]]":
    limit, both = memory.get("limit"), limits_shared.swap(memory)
    yield from limits_shared.before_update(memory, "memory.usage_in_bytes")
    if limit:
        yield ["memory", "memory.limit_in_bytes", str(limit), f"{WHERE}memory.limit"]
    if both is not None:
        key = f"{WHERE}memory.swap" if memory.get("swap") and both != limit else ""
        yield ["memory", "memory.memsw.limit_in_bytes", str(both), key]
    if memory.get("reservation"):
        value = str(memory["reservation"])
        yield ["memory", "memory.soft_limit_in_bytes", value, f"{WHERE}memory.reservation"]
    swappiness = memory.get("swappiness")
    if swappiness is not None and 0 <= swappiness <= 100:
        yield ["memory", "memory.swappiness", str(swappiness), f"{WHERE}memory.swappiness"]
    elif swappiness is not None and swappiness not in {-1, (1 << 64) - 1}:
        raise refusals.refused(f"{WHERE}memory.swappiness", f"is {swappiness}; it lies between 0 and 100")
    if memory.get("disableOOMKiller"):
        yield ["memory", "memory.oom_control", "1", f"{WHERE}memory.disableOOMKiller"]


def _pids(pids: "Mapping[str, Any]") -> "Iterator[list[str]]":
    if limit := pids.get("limit"):
        yield ["pids", "pids.max", str(limit) if limit > 0 else "max", f"{WHERE}pids.limit"]


def _block(block: "Mapping[str, Any]") -> "Iterator[list[str]]":
    key = f"{WHERE}blockIO."
    if block.get("weight"):
        value = f"{block['weight']}|{block['weight']}"
        yield ["blkio", "blkio.weight|blkio.bfq.weight", value, f"{key}weight"]
    if block.get("leafWeight"):
        yield ["blkio", "blkio.leaf_weight", str(block["leafWeight"]), f"{key}leafWeight"]
    for device, weight in limits_shared.devices(block.get("weightDevice"), "weight"):
        value = f"{device} {weight}|{device} {weight}"
        yield ["blkio", "blkio.weight_device|blkio.bfq.weight_device", value, f"{key}weightDevice"]
    for device, weight in limits_shared.devices(block.get("weightDevice"), "leafWeight"):
        yield ["blkio", "blkio.leaf_weight_device", f"{device} {weight}", f"{key}weightDevice"]
    for name, (file, _) in limits_shared.THROTTLES.items():
        for device, rate in limits_shared.devices(block.get(name), "rate"):
            yield ["blkio", file, f"{device} {rate}", f"{key}{name}"]


def _network(network: "Mapping[str, Any]") -> "Iterator[list[str]]":
    if network.get("classID"):
        yield ["net_cls", "net_cls.classid", str(network["classID"]), f"{WHERE}network.classID"]
    for entry in network.get("priorities") or []:
        value = f"{entry['name']} {entry['priority']}"
        yield ["net_prio", "net_prio.ifpriomap", value, f"{WHERE}network.priorities"]
