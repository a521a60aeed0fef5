"""A node: what the user says of it, and what it says of itself."""

from dataclasses import dataclass, field
from enum import StrEnum

from orch.model.resources import Resources


class Availability(StrEnum):
    """Whether a node takes tasks."""

    ACTIVE = "active"
    CORDONED = "cordoned"
    """Keeps what it has and takes nothing new."""
    DRAINED = "drained"
    """Gives up what it has."""


class TaintEffect(StrEnum):
    """What a taint does to tasks that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    NO_EXECUTE = "NoExecute"


@dataclass(frozen=True, slots=True)
class Taint:
    """Repels tasks that do not tolerate it."""

    key: str
    value: str = ""
    effect: TaintEffect = TaintEffect.NO_SCHEDULE

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


class Condition(StrEnum):
    """Whether the node is heard from."""

    READY = "ready"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """The user's side: kept when the node is away."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    availability: Availability = Availability.ACTIVE
    joined_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a machine is and has; an agent says it when it greets."""

    hostname: str = ""
    address: str = ""
    """Where other nodes reach it."""
    architecture: str = ""
    """As images say it: amd64, arm64."""
    os: str = "linux"
    kernel: str = ""
    cpu: int = 0
    """Thousandths of a core."""
    memory: int = 0
    """Bytes."""
    version: str = ""
    """The agent's version."""
    capabilities: tuple[str, ...] = ()
    """What the agent can do, by name."""
    boot_id: str = ""
    http_port: int = 0
    """Where it serves HTTP routes; 0 is nowhere."""
    https_port: int = 0


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The leader's side: only transitions are written, never heartbeats."""

    name: str
    condition: Condition = Condition.DOWN
    since: float = 0.0
    """When the condition began."""
    reason: str = ""
    incarnation: int = 0
    """Which run of the agent."""
    facts: Facts = Facts()
    subnets: tuple[str, ...] = ()
    """Address ranges of its tasks, claimed when it joined."""
    index: int = 0
    """Its place in the cluster's range, counted from 0; also its slot in a global service."""
    problems: tuple[str, ...] = ()
    """What the node says is wrong with it: `disk almost full`."""


@dataclass(frozen=True, slots=True)
class Node:
    """Both sides of a node."""

    spec: NodeSpec
    status: NodeStatus

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def is_ready(self) -> bool:
        """It is heard from."""
        return self.status.condition is Condition.READY

    @property
    def capacity(self) -> Resources:
        """What it has in all."""
        return Resources(self.status.facts.cpu, self.status.facts.memory)
