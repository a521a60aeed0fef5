"""What the limits of both cgroup versions have in common (pure)."""

from agent.runtime import refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

WHERE = "linux.resources."
_PAGE_UNITS = ("KB", "MB", "GB")
THROTTLES = {
    "throttleReadBpsDevice": ("blkio.throttle.read_bps_device", "rbps"),
    "throttleWriteBpsDevice": ("blkio.throttle.write_bps_device", "wbps"),
    "throttleReadIOPSDevice": ("blkio.throttle.read_iops_device", "riops"),
    "throttleWriteIOPSDevice": ("blkio.throttle.write_iops_device", "wiops"),
}
"""Key of the configuration → the file of v1, the word in io.max of v2."""


def part(resources: "Mapping[str, Any]", name: str) -> "dict[str, Any]":
    """A part of the resources without what says nothing: null is as good as left out."""
    return {key: value for key, value in (resources.get(name) or {}).items() if value is not None}


def swap(memory: "Mapping[str, Any]") -> "int | None":
    """Memory and swap together, None where nothing is said; refused where it cannot be."""
    both, limit = memory.get("swap") or 0, memory.get("limit") or 0
    if not both:
        return -1 if limit == -1 else None
    if both > 0 and limit <= 0:
        raise refusals.refused(
            f"{WHERE}memory.swap", "limits memory and swap together; it needs memory.limit"
        )
    if 0 < both < limit:
        why = f"is {both}, below memory.limit {limit}: it counts memory and swap together"
        raise refusals.refused(f"{WHERE}memory.swap", why)
    return int(both)


def devices(entries: "Sequence[Mapping[str, Any]] | None", field: str) -> "Iterator[tuple[str, int]]":
    """A device as the kernel writes it, and the number that it gets."""
    for entry in entries or []:
        if entry.get(field) is not None:
            yield f"{entry['major']}:{entry['minor']}", int(entry[field])


def page_size(entry: "Mapping[str, Any]") -> str:
    """As in the names of files: 64KB, 2MB, 1GB."""
    size = str(entry.get("pageSize", ""))
    if not (size[:-2].isdigit() and size[-2:] in _PAGE_UNITS and size[0] != "0"):
        raise refusals.refused(
            f"{WHERE}hugepageLimits.pageSize", f"is {size!r}; it is written like 2MB or 1GB"
        )
    return size


def rdma(resources: "Mapping[str, Any]") -> "Iterator[list[str]]":
    for device, most in (resources.get("rdma") or {}).items():
        words = [device]
        for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if most.get(key) is not None:
                words.append(f"{word}={most[key]}")
        if len(words) > 1:
            yield ["rdma", "rdma.max", " ".join(words), f"{WHERE}rdma.{device}"]


def before_update(memory: "Mapping[str, Any]", file: str) -> "Iterator[list[str]]":
    if memory.get("checkBeforeUpdate") and (memory.get("limit") or 0) > 0:
        yield ["memory", f"?{file}", str(memory["limit"]), f"{WHERE}memory.limit"]
