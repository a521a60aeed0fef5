"""The vocabulary of decisions: all that a decider can say.

A change says who may emit it; the loop carries it out as store operations, and `after` says what the picture
would be.
Waiting and waking are values too: they change nothing and are shown to the user.
"""

from dataclasses import dataclass

from orch.model.event import EventType
from orch.model.names import ServiceName, TaskId
from orch.model.node import Condition
from orch.model.rollout import Rollout
from orch.model.task import Task


@dataclass(frozen=True, slots=True)
class CreateTask:
    """A slot gets a new task, without a node yet. Only from replication."""

    task: Task


@dataclass(frozen=True, slots=True)
class AssignTask:
    """A pending task gets its node, with the claims of its published ports. Only from the scheduler."""

    id: TaskId
    node: str
    score: str = ""
    ports: tuple[str, ...] = ()
    """Claims to make in the same transaction: `node/host_ip:port/protocol`."""


@dataclass(frozen=True, slots=True)
class RetireTask:
    """A task is to stop, for good. From replication, rollout and drain."""

    id: TaskId
    cause: str


@dataclass(frozen=True, slots=True)
class ForgetTask:
    """A task that is over leaves the store, with its claims. Only from retention."""

    id: TaskId


@dataclass(frozen=True, slots=True)
class SaveRollout:
    """The rollout controller's memory. From rollout, and from retention for `forgotten_attempt`."""

    rollout: Rollout


@dataclass(frozen=True, slots=True)
class MarkNode:
    """A node is heard from again, or no longer. Only from node health."""

    name: str
    condition: Condition
    reason: str


@dataclass(frozen=True, slots=True)
class ForgetRevision:
    """An old revision beyond the history limit. Only from retention."""

    service: ServiceName
    number: int


@dataclass(frozen=True, slots=True)
class ForgetService:
    """A deleted service whose tasks have gone, with its revisions and rollout. Only from retention."""

    service: ServiceName


@dataclass(frozen=True, slots=True)
class GiveAddress:
    """A service gets a virtual address, for good. Only from virtual_address."""

    service: ServiceName
    address: str


@dataclass(frozen=True, slots=True)
class Tell:
    """An event: what happened and why. From everyone."""

    type: EventType
    reason: str
    object: str
    """`service/web`, `task/web.2.7`, `node/n1`."""
    namespace: str
    message: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is done about the subject now, and why."""

    subject: TaskId | ServiceName
    reason: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Look again at this instant, seconds since 1970."""

    instant: float


Write = (
    CreateTask
    | AssignTask
    | RetireTask
    | ForgetTask
    | SaveRollout
    | MarkNode
    | ForgetRevision
    | ForgetService
    | GiveAddress
    | Tell
)
Change = Write | Waiting | WakeAt
