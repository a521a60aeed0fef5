"""All that can be the next thing to do for a task. The decider makes them; `perform` carries them out."""

from dataclasses import dataclass
from typing import Literal

from agent.network.attachment import Published
from orch.model.task import TaskState


@dataclass(frozen=True, slots=True)
class PullImage:
    """Have the image here, as the policy says."""

    reference: str
    policy: Literal["Always", "IfNotPresent", "Never"]


@dataclass(frozen=True, slots=True)
class WireNetwork:
    """Give the task its network namespace and addresses."""


@dataclass(frozen=True, slots=True)
class PublishPorts:
    """Open the task's ports on this node."""

    ports: tuple[Published, ...]


@dataclass(frozen=True, slots=True)
class PrepareFiles:
    """Lay out what the containers mount: name service files, configs, secrets."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a container anew; `run` counts its runs."""

    container: str
    run: int


@dataclass(frozen=True, slots=True)
class StartProbes:
    """Begin to ask a running container whether it is well."""

    container: str


@dataclass(frozen=True, slots=True)
class ReadTail:
    """Fetch the last lines of a container that ended."""

    container: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove what is left of earlier runs: containers by their full names."""

    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Condemn:
    """A container is to end though the task goes on: it is asked to, and restarted when it has."""

    container: str
    signal: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Signal:
    """Ask a container to end."""

    container: str
    signal: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Its grace is over: end the container with everything in it."""

    container: str


@dataclass(frozen=True, slots=True)
class UnpublishPorts:
    """Close the task's ports on this node."""


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Remove all that there is of the task: containers, network, files, cgroups."""


@dataclass(frozen=True, slots=True)
class Conclude:
    """Write the task's end down; nothing of it runs, and nothing will."""

    state: TaskState
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Nothing to do before then."""

    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing to do until something happens."""

    why: str


Step = (
    PullImage
    | WireNetwork
    | PublishPorts
    | PrepareFiles
    | Launch
    | StartProbes
    | ReadTail
    | Discard
    | Condemn
    | Signal
    | Kill
    | UnpublishPorts
    | CleanUp
    | Conclude
)
Idle = WakeAt | Waiting
