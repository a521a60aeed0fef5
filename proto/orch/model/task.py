"""A task: one instance of a service in a slot. What is wanted of it, what its node reports, and which is truer.

Desired and observed have different writers and lie under different keys: controllers write `Task`, the leader
writes the `TaskStatus` that the node reported.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from orch.model.names import TaskId


class TaskState(IntEnum):
    """Ordered: within one (incarnation, restarts) a task only moves to a greater state."""

    PENDING = 1
    ASSIGNED = 2
    PREPARING = 3
    STARTING = 4
    RUNNING = 5
    BACKOFF = 6
    STOPPING = 7
    COMPLETE = 8
    FAILED = 9
    REJECTED = 10

    @property
    def is_final(self) -> bool:
        """Nothing of it runs any more, and nothing will."""
        return self >= TaskState.COMPLETE


TRANSITIONS: dict[TaskState, tuple[tuple[TaskState, str], ...]] = {
    TaskState.PENDING: (
        (TaskState.ASSIGNED, "the scheduler found a node"),
        (TaskState.COMPLETE, "no longer wanted"),
    ),
    TaskState.ASSIGNED: (
        (TaskState.PREPARING, "the node began"),
        (TaskState.REJECTED, "the node cannot run it"),
        (TaskState.COMPLETE, "no longer wanted"),
    ),
    TaskState.PREPARING: (
        (TaskState.STARTING, "image, network and files are there"),
        (TaskState.BACKOFF, "preparing failed; it is tried again"),
        (TaskState.STOPPING, "no longer wanted"),
        (TaskState.FAILED, "the attempts are spent"),
        (TaskState.REJECTED, "the node cannot run it"),
    ),
    TaskState.STARTING: (
        (TaskState.RUNNING, "all containers run"),
        (TaskState.BACKOFF, "a container ended, or could not start"),
        (TaskState.STOPPING, "no longer wanted"),
        (TaskState.COMPLETE, "all containers ended well"),
        (TaskState.FAILED, "the attempts are spent"),
        (TaskState.REJECTED, "the node cannot run it"),
    ),
    TaskState.RUNNING: (
        (TaskState.BACKOFF, "a container ended, or its liveness probe failed"),
        (TaskState.STOPPING, "no longer wanted"),
        (TaskState.COMPLETE, "all containers ended well"),
        (TaskState.FAILED, "the attempts are spent"),
    ),
    TaskState.BACKOFF: (
        (TaskState.PREPARING, "the wait is over; counts as a restart"),
        (TaskState.STARTING, "the wait is over; counts as a restart"),
        (TaskState.STOPPING, "no longer wanted"),
        (TaskState.FAILED, "the attempts are spent"),
    ),
    TaskState.STOPPING: (
        (TaskState.COMPLETE, "it was asked to stop, and has"),
        (TaskState.FAILED, "it ended otherwise while stopping"),
    ),
    TaskState.COMPLETE: (),
    TaskState.FAILED: (),
    TaskState.REJECTED: (),
}


class Wanted(StrEnum):
    """What the control plane wants of a task."""

    RUN = "run"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Task:
    """The desired side of a task."""

    id: TaskId
    revision: int
    node: str = ""
    """Where it runs; empty while it waits for a place."""
    wanted: Wanted = Wanted.RUN
    cause: str = ""
    """The decision that put it there: `scale to 3`, `replaces web.2.1: node-2 is gone`."""
    bound_to: tuple[str, ...] = ()
    """The only nodes it may be placed on; empty is any (a canary step, a global slot)."""
    created_at: float = 0.0
    assigned_at: float = 0.0
    stop_at: float = 0.0
    """When STOP was decided."""
    score: str = ""
    """The score table it won its node by, for `why`: JSON, small."""


class ContainerState(StrEnum):
    """One container of a task."""

    WAITING = "waiting"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """What the node says of one container."""

    name: str
    state: ContainerState = ContainerState.WAITING
    pid: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int | None = None
    """None while it runs, and when nobody can know it."""
    exit_signal: int = 0
    oom_killed: bool = False
    restarts: int = 0
    ready: bool = False
    reason: str = ""
    message: str = ""
    image_digest: str = ""
    exposes: tuple[str, ...] = ()
    """Ports that its image speaks of (EXPOSE), such as `8080/tcp`: for people, nothing is opened for it."""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """The observed side of a task: its node's last word."""

    id: TaskId
    node: str
    state: TaskState
    incarnation: int = 0
    """Which run of the node's agent reports; a later run's word is truer."""
    restarts: int = 0
    sequence: int = 0
    ready: bool = False
    ready_since: float = 0.0
    reason: str = ""
    """One CamelCase word for the REASON column: ImageNotFound, CrashLoop, Unhealthy, OOMKilled …"""
    message: str = ""
    """A sentence: what is wrong, where, and what to do."""
    addresses: tuple[str, ...] = ()
    containers: tuple[ContainerStatus, ...] = ()
    started_at: float = 0.0
    """When the payload's last exec happened; seconds since 1970, by the node's clock."""
    finished_at: float = 0.0
    """When the last thing of it was cleaned up."""
    retry_at: float = 0.0
    """In BACKOFF: when it is tried again."""
    log_tail: tuple[str, ...] = ()
    """The last lines of output of a container that failed; at most 20."""

    @property
    def order(self) -> tuple[int, int, int, int]:
        """Of two reports of one task the one with the greater order is the true one."""
        return (self.incarnation, self.restarts, int(self.state), self.sequence)


def truer(known: TaskStatus | None, reported: TaskStatus) -> TaskStatus:
    """The status to believe. A final state is never left, whoever reports."""
    if known is None:
        return reported
    if known.state.is_final:
        return known
    return reported if reported.order > known.order else known
