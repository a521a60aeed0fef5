"""Limits as rows for the files of a cgroup → properties of a systemd unit (pure).

What systemd knows it writes again when it likes, at a daemon-reload for example; so it has to know the same as
the files. What has no property here (memory.oom.group, huge pages …) systemd leaves alone.
"""

from agent.orchrun.errors import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Property = tuple[str, tuple[str, Any]]

INFINITY = (1 << 64) - 1
_PERIOD = 100_000
_SECOND = 1_000_000
_QUOTA_STEP = 10_000
"""systemd counts percent."""
_NUMBERS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.shares": "CPUShares",
}
"""A number of 64 bits, or "max"; on v1 -1 for that."""
_MASKS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_WEIGHTS = {"io.weight": "IOWeight", "blkio.weight": "BlockIOWeight"}
_RATES = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}
_SINCE = {"CPUQuotaPeriodUSec": 242, "AllowedCPUs": 244, "AllowedMemoryNodes": 244, "MemoryMin": 240}
_IDLE_SINCE = 252


def of(rows: "Iterable[Sequence[str]]", version: int) -> "list[Property]":
    """Those that this version of systemd has."""
    found: dict[str, tuple[str, Any]] = {}
    v1_quota: dict[str, int] = {}
    for _, files, values, _ in rows:
        for file, value in zip(files.split("|"), values.split("|"), strict=False):
            if file in _NUMBERS:
                found[_NUMBERS[file]] = ("t", _number(value))
            elif file in _MASKS:
                found[_MASKS[file]] = ("ay", mask(value))
            elif file in _WEIGHTS:
                _weigh(found, _WEIGHTS[file], value)
            elif file == "cpu.idle" and value == "1" and version >= _IDLE_SINCE:
                found["CPUWeight"] = ("t", 0)
            elif file == "cpu.max":
                most, _, period = value.partition(" ")
                _hold_back(found, _number(most), int(period or _PERIOD))
            elif file in {"cpu.cfs_quota_us", "cpu.cfs_period_us"}:
                v1_quota[file] = int(value)
            elif file == "io.max":
                _slow_down(found, value)
    if quota := v1_quota.get("cpu.cfs_quota_us"):
        _hold_back(found, quota if quota > 0 else INFINITY, v1_quota.get("cpu.cfs_period_us", _PERIOD))
    return [(name, value) for name, value in found.items() if version >= _SINCE.get(name, 0)]


def of_devices(rows: "Iterable[Sequence[str]]", known: str) -> "list[Property]":
    """Device rules of v1, which systemd writes again too; it knows only what is allowed, and drivers by name.

    `known`: /proc/devices.
    """
    allowed: list[tuple[str, str]] = []
    is_strict = False
    for _, file, value, _ in rows:
        if value == "a":
            is_strict, allowed = file == "devices.deny", []
        elif file == "devices.allow":
            kind, number, access = value.split()
            allowed += [(name, access) for name in _device_names(kind, number, known)]
    if not is_strict:
        return []
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))]


def _device_names(kind: str, number: str, known: str) -> list[str]:
    """1:3 → /dev/char/1:3, 136:* → char-pts, *:* → char-*; none for a driver that this kernel does not have."""
    word = "char" if kind == "c" else "block"
    major, _, minor = number.partition(":")
    if major == "*":
        return [f"{word}-*"] if minor == "*" else []
    if minor != "*":
        return [f"/dev/{word}/{number}"]
    characters, _, blocks = known.partition("Block devices:")
    lines = [line.split() for line in (characters if kind == "c" else blocks).splitlines()]
    return [f"{word}-{line[1]}" for line in lines if len(line) == 2 and line[0] == major]


def of_annotations(annotations: "dict[str, str]") -> "list[Property]":
    """org.systemd.property.NAME, its value in GVariant's words: true, 'text', uint64 90000000, 5."""
    prefix = "org.systemd.property."
    return [
        (key.removeprefix(prefix), _value(key, text.strip()))
        for key, text in annotations.items()
        if key.startswith(prefix)
    ]


def mask(ranges: str) -> list[int]:
    """0-2,8 as bytes, the lowest eight first."""
    bits = 0
    for part in ranges.replace(",", " ").split():
        first, _, last = part.partition("-")
        for place in range(int(first), int(last or first) + 1):
            bits |= 1 << place
    return list(bits.to_bytes((bits.bit_length() + 7) // 8, "little"))


def _number(text: str) -> int:
    return INFINITY if text in {"max", "-1"} else int(text)


def _hold_back(found: "dict[str, tuple[str, Any]]", quota: int, period: int) -> None:
    """Rounded up, as systemd knows whole percents only; the files get what was asked for."""
    each_second = INFINITY
    if quota != INFINITY:
        each_second = quota * _SECOND // period
        each_second += -each_second % _QUOTA_STEP
    found["CPUQuotaPerSecUSec"] = ("t", each_second)
    found["CPUQuotaPeriodUSec"] = ("t", period)


def _weigh(found: "dict[str, tuple[str, Any]]", name: str, value: str) -> None:
    device, _, weight = value.removeprefix("default ").rpartition(" ")
    if not device:
        found[name] = ("t", int(weight))
    elif name == "IOWeight":
        _device(found, "IODeviceWeight", device, int(weight))


def _slow_down(found: "dict[str, tuple[str, Any]]", line: str) -> None:
    device, *words = line.split()
    for word in words:
        key, _, rate = word.partition("=")
        if key in _RATES:
            _device(found, _RATES[key], device, _number(rate))


def _device(found: "dict[str, tuple[str, Any]]", name: str, device: str, value: int) -> None:
    entries = found.setdefault(name, ("a(st)", []))[1]
    entries.append((f"/dev/block/{device}", value))


def _value(key: str, text: str) -> "tuple[str, Any]":
    if text in {"true", "false"}:
        return "b", text == "true"
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return "s", text[1:-1]
    kind, _, number = text.rpartition(" ")
    kinds = {"": "i", "int32": "i", "uint32": "u", "uint64": "t"}
    if kind in kinds and number.lstrip("-").isdigit():
        return kinds[kind], int(number)
    raise Failed(f"annotation {key}: {text!r} is neither true, false, 'text' nor a number like uint64 5")
