"""The resources of an OCI configuration → the limits of a plan (pure)."""

from collections.abc import Iterator, Mapping
from typing import Any

from agent.runtime.container import LaunchFailed


def limits(resources: Mapping[str, Any]) -> dict[str, int]:
    """What the cgroup is given; LaunchFailed names the key that is wrong or not supported yet."""
    return dict(_limits(resources))


def _limits(resources: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    _known(resources, "linux.resources.", "memory cpu pids devices")
    rules = resources.get("devices", [])
    if any(rule.get("allow") for rule in rules):
        raise _refused("linux.resources.devices", "only the default deny-all is supported yet")
    memory, cpu, pids = (resources.get(name, {}) for name in ("memory", "cpu", "pids"))
    _known(memory, "linux.resources.memory.", "limit swap")
    _known(cpu, "linux.resources.cpu.", "shares quota period")
    _known(pids, "linux.resources.pids.", "limit")
    if memory.get("limit", -1) > 0:
        yield "memory", memory["limit"]
        yield "swap", max(memory.get("swap", memory["limit"]) - memory["limit"], 0)
    if cpu.get("quota", -1) > 0:
        yield "cpu_quota", cpu["quota"]
        yield "cpu_period", cpu.get("period", 100_000)
    if cpu.get("shares"):
        yield "cpu_shares", min(max(cpu["shares"], 2), 262_144)
    if pids.get("limit", -1) > 0:
        yield "pids", pids["limit"]


def _known(values: Mapping[str, Any], prefix: str, keys: str) -> None:
    supported = keys.split()
    for key, value in values.items():
        if key not in supported and value not in (None, {}, [], ""):
            raise _refused(f"{prefix}{key}", "is not supported yet; take it out of the configuration")


def _refused(key: str, why: str) -> LaunchFailed:
    return LaunchFailed("config", f"{key} {why}")
