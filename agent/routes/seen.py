"""What the running proxy says of itself (pure): its endpoints, maps and certificates."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_FORCED_MAINTENANCE = 0x01
_FORCED_DRAIN = 0x08


@dataclass(frozen=True, slots=True)
class SeenServer:
    address: str
    port: int
    weight: int
    state: str = "ready"
    """Or drain, maint."""


Servers = Mapping[str, Mapping[str, SeenServer]]
"""By backend and name."""


@dataclass(frozen=True, slots=True)
class Seen:
    structure: str = ""
    """The digest that it was made with."""
    servers: Servers = field(default_factory=dict)
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By name."""
    certificates: Mapping[str, str] = field(default_factory=dict)
    """File → a digest of what is in it, as far as we know."""


@dataclass(frozen=True, slots=True)
class Info:
    """`show info`."""

    pid: int
    structure: str
    dropped_logs: int


def info(text: str) -> Info:
    """Raises ValueError where it is none."""
    words = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if "Pid" not in words:
        raise ValueError(f"the proxy says no process id: {text[:200]!r}")
    return Info(
        int(words["Pid"]),
        words.get("description", ""),
        int(words.get("DroppedLogs", 0)),
    )


def servers(text: str) -> dict[str, dict[str, SeenServer]]:
    """`show servers state`."""
    found: dict[str, dict[str, SeenServer]] = {}
    columns: list[str] = []
    for line in text.splitlines():
        if line.startswith("# "):
            columns = line[2:].split()
        elif columns and len(words := line.split()) >= len(columns):
            row = dict(zip(columns, words, strict=False))
            found.setdefault(row["be_name"], {})[row["srv_name"]] = SeenServer(
                row["srv_addr"], int(row["srv_port"]), int(row["srv_uweight"]), _state(row)
            )
    return found


def _state(row: Mapping[str, str]) -> str:
    flags = int(row["srv_admin_state"])
    if flags & _FORCED_MAINTENANCE:
        return "maint"
    return "drain" if flags & _FORCED_DRAIN else "ready"


def entries(text: str) -> dict[str, str]:
    """`show map`: a reference, a key, a value on each line."""
    rows = (line.split(" ", 2) for line in text.splitlines() if line.startswith("0x"))
    return {row[1]: row[2] for row in rows if len(row) == 3}


def used_now(text: str) -> dict[str, int]:
    """`show servers conn`: server → connections in use."""
    found: dict[str, int] = {}
    columns: list[str] = []
    for line in text.splitlines():
        if line.startswith("# "):
            columns = line[2:].split()
        elif columns and "/" in line:
            row = dict(zip(columns, line.split(), strict=False))
            found[row["bkname/svname"].partition("/")[2]] = int(row["used_cur"])
    return found
