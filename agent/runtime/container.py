"""The values that the runtime and the rest of the agent exchange."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.runtime import refusals

LaunchFailed = refusals.LaunchFailed


@dataclass(frozen=True, slots=True)
class Launch:
    """A container to start."""

    container: str
    """Unique for ever; [a-z0-9.-], at most 200 characters."""
    sandbox: str
    """The task it belongs to; its cgroup is the parent."""
    config: Mapping[str, Any]
    """OCI runtime configuration."""
    layers: tuple[str, ...]
    """Unpacked layer directories, lowest first."""
    logs: str
    """Directory for log files."""
    init: bool = False
    """Run a tiny init as PID 1, which reaps and passes signals on."""
    stdin: bool = False
    """Its standard input stays open, to be written by `Runtime.stdin`; without, there is none. Not with a terminal."""
    log_max_bytes: int = 10 << 20
    log_max_files: int = 5


@dataclass(frozen=True, slots=True)
class Running:
    container: str
    pid: int
    start_time: int
    """Clock ticks since boot: with the pid, the identity of the process."""
    started_at: float
    """Unix seconds, when the payload was executed."""


@dataclass(frozen=True, slots=True)
class Exited:
    """Its end. Neither code nor signal: nobody is left who could know."""

    container: str
    pid: int
    exit_code: int | None
    signal: int | None
    oom_killed: bool
    at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Usage:
    cpu_seconds: float
    memory_bytes: int
    pids: int


class NoSuchContainer(KeyError):
    """The journal does not know it, or it does not run."""

    def __str__(self) -> str:
        return f"no container {self.args[0]} runs here"
