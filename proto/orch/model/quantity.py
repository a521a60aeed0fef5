"""Amounts as people write them: durations, cpu, bytes, counts and percentages.

Inside, a duration is seconds (float), cpu is thousandths of a core (int) and memory is bytes (int).
"""

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_SECONDS = 10 * 365 * 86_400
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_BYTE_UNITS = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "ki": 2**10, "kib": 2**10, "mi": 2**20, "mib": 2**20, "gi": 2**30, "gib": 2**30, "ti": 2**40, "tib": 2**40,
}  # fmt: skip


def parse_duration(text: Any) -> float:
    """`5s`, `1m30s`, `250ms` or a number of seconds → seconds. Raises ValueError."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        seconds = float(text)
    else:
        seconds = _sum_parts(str(text).strip())
    if not math.isfinite(seconds) or not 0 <= seconds <= _LONGEST_SECONDS:
        raise ValueError(f"{text!r} is not a duration: it must not be negative, nor longer than 10 years")
    milliseconds = round(seconds * 1000)
    if abs(seconds * 1000 - milliseconds) > 1e-3:
        raise ValueError(f"{text!r} is finer than 1ms")
    return milliseconds / 1000


def _sum_parts(text: str) -> float:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration: write seconds, or 5s, 1m30s, 250ms, 2h")
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """90.0 → `1m30s`; 0.25 → `250ms`. The shortest exact form."""
    if seconds == 0:
        return "0s"
    milliseconds = round(seconds * 1000)
    words = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            words.append(f"{count}{unit}")
    return "".join(words)


def parse_cpu(text: Any) -> int:
    """`250m`, `0.25`, 1 → thousandths of a core. Raises ValueError."""
    word = str(text).strip()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", word)
    if isinstance(text, bool) or not match:
        raise ValueError(f'{text!r} is not an amount of cpu: write cores ("0.25", 2) or thousandths ("250m")')
    millis = Decimal(match[1]) * (1 if match[2] else 1000)
    if millis != round(millis):
        raise ValueError(f"{text!r} is finer than 1m, a thousandth of a core")
    return round(millis)


def format_cpu(millis: int) -> str:
    """250 → `250m`; 2000 → `2`."""
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"


def parse_bytes(text: Any) -> int:
    """`64Mi`, `128M`, `1.5Gi`, 1048576 → bytes. Units are Kubernetes' and Compose's. Raises ValueError."""
    match = _BYTES.fullmatch(str(text).strip())
    unit = _BYTE_UNITS.get(match[2].lower()) if match else None
    if isinstance(text, bool) or not match or unit is None:
        raise ValueError(f"{text!r} is not an amount of memory: write bytes, or 64Mi, 128M, 1.5Gi")
    return round(Decimal(match[1]) * unit)


def format_bytes(count: int) -> str:
    """67108864 → `64Mi`. Exact: a count that no unit divides is printed as it is."""
    for unit, size in (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if count and count % size == 0:
            return f"{count // size}{unit}"
    return str(count)


def parse_amount(text: Any) -> str:
    """`3`, 3 or `25%` → the canonical text, `3` or `25%`. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,6})(%?)", str(text).strip())
    if isinstance(text, bool) or not match or (match[2] and int(match[1]) > 100):
        raise ValueError(f"{text!r} is not an amount: write a number (2) or a percentage up to 100% (25%)")
    return f"{int(match[1])}{match[2]}"


def amount_of(amount: str, total: int, *, round_up: bool) -> int:
    """How many of `total` an amount means: `25%` of 10 is 3 rounded up and 2 rounded down."""
    if not amount.endswith("%"):
        return int(amount)
    share = int(amount[:-1]) * total
    return -(-share // 100) if round_up else share // 100


_TEXT_OR_NUMBER = [{"type": "string"}, {"type": "number"}]

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"anyOf": _TEXT_OR_NUMBER, "examples": ["5s", "1m30s", 10]}),
]
Cpu = Annotated[
    int,
    BeforeValidator(parse_cpu),
    PlainSerializer(format_cpu, when_used="json"),
    WithJsonSchema({"anyOf": _TEXT_OR_NUMBER, "examples": ["250m", "0.25", 2]}),
]
Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes, when_used="json"),
    WithJsonSchema({"anyOf": _TEXT_OR_NUMBER, "examples": ["64Mi", "128M"]}),
]
Amount = Annotated[
    str,
    BeforeValidator(parse_amount),
    WithJsonSchema({"anyOf": _TEXT_OR_NUMBER, "examples": [1, "25%"]}),
]
