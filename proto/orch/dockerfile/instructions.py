"""The instructions of a Dockerfile as values; variables in them still stand for themselves."""

from dataclasses import dataclass

from orch.dockerfile.source import Heredoc

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class From:
    image: str
    name: str = ""
    """After AS, in lower case; empty without one."""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute: its words, or one text for the shell."""

    words: tuple[str, ...] = ()
    shell: str | None = None

    def argv(self, shell: tuple[str, ...]) -> tuple[str, ...]:
        return self.words if self.shell is None else (*shell, self.shell)


@dataclass(frozen=True, slots=True)
class Mount:
    """Of one RUN: `--mount=type=cache,target=/root/.cache`."""

    kind: str
    """bind, cache, tmpfs, secret or ssh."""
    target: str = ""
    """Without one a bind, cache or tmpfs is mounted on the working directory, as BuildKit does it."""
    source: str = ""
    stage: str = ""
    """Where a bind or the first content of a cache comes from: a stage, an image, or "" for the context."""
    id: str = ""
    readonly: bool = False
    required: bool = False
    sharing: str = "shared"
    size: str = ""
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    env: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    command: Command
    mounts: tuple[Mount, ...] = ()
    network: str = "default"
    is_insecure: bool = False
    """--security=insecure was said."""
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY, and ADD, which also unpacks archives and fetches addresses."""

    sources: tuple[str, ...]
    target: str
    stage: str = ""
    owner: str = ""
    mode: str = ""
    exclude: tuple[str, ...] = ()
    parents: bool = False
    unpacks: bool = False
    checksum: str = ""
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Env:
    pairs: Pairs


@dataclass(frozen=True, slots=True)
class Label:
    pairs: Pairs


@dataclass(frozen=True, slots=True)
class Arg:
    pairs: tuple[tuple[str, str | None], ...]
    """Without a default the value is None."""


@dataclass(frozen=True, slots=True)
class Workdir:
    path: str


@dataclass(frozen=True, slots=True)
class User:
    name: str


@dataclass(frozen=True, slots=True)
class Expose:
    ports: str


@dataclass(frozen=True, slots=True)
class Volume:
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cmd:
    command: Command


@dataclass(frozen=True, slots=True)
class Entrypoint:
    command: Command


@dataclass(frozen=True, slots=True)
class Shell:
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopSignal:
    signal: str


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Durations in nanoseconds, as image configurations hold them; 0 says nothing."""

    command: Command | None
    """None is HEALTHCHECK NONE."""
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class OnBuild:
    text: str
    """The instruction as it was written; read when an image is built on this one."""


Instruction = (
    From | Run | Copy | Env | Label | Arg | Workdir | User | Expose | Volume | Cmd | Entrypoint
    | Shell | StopSignal | HealthCheck | OnBuild
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placed:
    """An instruction and where it stands."""

    line: int
    text: str
    """As written, for people and for an image's history."""
    instruction: Instruction
