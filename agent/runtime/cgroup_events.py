"""What a group has used, in the words of `runc events --stats` (pure)."""

from typing import Any

from agent.runtime.cgroup_stats import Stats

_NO_LIMIT = (1 << 64) - 1


def stats(found: Stats, container: str) -> dict[str, Any]:
    """As `runc events --stats` prints it: a limit that is none is the greatest number of 64 bits."""
    memory, cpu = found.memory, found.cpu

    def usage(used: int, limit: int, most: int = 0, failures: int = 0) -> dict[str, int]:
        return {"limit": limit if limit >= 0 else _NO_LIMIT, "usage": used, "max": most, "failcnt": failures}

    def transfers(kinds: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
        return [
            {"major": device.major, "minor": device.minor, "op": op, "value": getattr(device, attribute)}
            for device in found.devices
            for op, attribute in kinds
        ]

    return {
        "type": "stats",
        "id": container,
        "data": {
            "cpu": {
                "usage": {"total": cpu.total, "percpu": [], "kernel": cpu.system, "user": cpu.user},
                "throttling": {
                    "periods": cpu.periods,
                    "throttledPeriods": cpu.throttled_periods,
                    "throttledTime": cpu.throttled,
                },
            },
            "memory": {
                "cache": memory.cache,
                "usage": usage(memory.used, memory.limit, memory.most_used, memory.failures),
                "swap": usage(memory.swap_used, memory.swap_limit),
                "kernel": usage(0, 0),
                "kernelTCP": usage(0, 0),
                "raw": dict(memory.detail),
            },
            "pids": {"current": found.pids.current, "limit": max(found.pids.limit, 0)},
            "blkio": {
                "ioServiceBytesRecursive": transfers((("Read", "read_bytes"), ("Write", "written_bytes"))),
                "ioServicedRecursive": transfers((("Read", "reads"), ("Write", "writes"))),
            },
            "hugetlb": {
                size: {"usage": one.used, "max": one.most_used, "failcnt": one.failures}
                for size, one in found.huge_pages.items()
            },
            "intel_rdt": {},
            "network_interfaces": None,
        },
    }
