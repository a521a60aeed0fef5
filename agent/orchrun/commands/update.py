"""`update`: other limits for a container that runs."""

import sys

from agent.orchrun import jsontext, state
from agent.orchrun.call import Call
from agent.orchrun.errors import Failed, Misused
from agent.runtime import plan_resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NUMBERS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "pids-limit": ("pids", "limit"),
}
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
OPTIONS = {"resources,r": "text", **dict.fromkeys((*_NUMBERS, *_TEXTS), "text")}
ARGUMENTS = "<container-id>"


def run(call: Call) -> int:
    record = call.record(call.container())
    if call.status(record) == state.STOPPED:
        raise Failed("container not running")
    if not record["group"]:
        raise Failed("update needs the container's cgroup, and it was made with --cgroup-manager disabled")
    world = plan_resources.World.of(call.cgroups)
    limits = plan_resources.limits(_resources(call), world)
    if record.get("unit"):
        from agent.orchrun import scope

        scope.change(call, record, limits)
    else:
        call.cgroups.update(record["group"], limits)
    return 0


def _resources(call: Call) -> "dict[str, Any]":
    source = call.options.text("resources")
    if source:
        value = jsontext.loads(sys.stdin.read(), "stdin") if source == "-" else jsontext.load(source)
        if not isinstance(value, dict):
            raise Failed(f"--resources {source}: holds no object")
        value.pop("devices", None)  # what it may open was settled when it was created
        return value
    resources: dict[str, dict[str, Any]] = {}
    for option, (kind, key) in _NUMBERS.items():
        if text := call.options.text(option):
            resources.setdefault(kind, {})[key] = _number(option, text)
    for option, (kind, key) in _TEXTS.items():
        if text := call.options.text(option):
            resources.setdefault(kind, {})[key] = text
    return resources


_UNITS = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def _number(option: str, text: str) -> int:
    """Bytes may have a unit: 512m, as docker writes them."""
    number, shift = text.lower().removesuffix("ib"), 0
    if "memory" in option and number and number[-1] in _UNITS:
        number, shift = number[:-1], _UNITS[number[-1]]
    try:
        return int(number) << shift
    except ValueError:
        raise Misused(f"invalid value {text!r} for --{option}") from None
