"""How a service is placed, restarted, stopped and rolled."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orch.model.names import Name
from orch.model.quantity import Amount, Duration
from orch.model.spec import Spec


class Toleration(Spec):
    """Lets tasks run on nodes with a taint."""

    key: str
    """The taint's key."""
    value: str | None = None
    """The taint's value; left out, any value."""


class PlacementSpec(Spec):
    """Where tasks may run, and how they spread."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that a node must have."""
    constraints: tuple[str, ...] = ()
    """Expressions on node.name and node.labels.KEY: ==, !=, in (a,b), notin (a,b), exists, !exists."""
    spread: tuple[str, ...] = ()
    """Label keys; tasks are spread evenly over their values, the first key first."""
    max_per_node: Annotated[int, Field(ge=0)] = 0
    """At most so many tasks of the service on one node; 0 is no limit."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that the tasks tolerate."""


class RestartPolicy(Spec):
    """What the node does when a container ends by itself."""

    policy: Literal["always", "on-failure", "never"] = "always"
    """always, on-failure (exit code other than 0) or never."""
    backoff: Duration = 1.0
    """The first restart is immediate; the second waits this long, each further one twice as long."""
    max_backoff: Duration = 60.0
    """The longest wait."""
    attempts: Annotated[int | Literal["unlimited"], Field(union_mode="left_to_right")] = "unlimited"
    """Restarts after which the task has failed and is replaced."""
    reset_after: Duration = 600.0
    """After so long without a crash the count begins anew."""

    @property
    def most_attempts(self) -> int | None:
        """The number of restarts allowed; None is no limit."""
        return None if self.attempts == "unlimited" else int(self.attempts)


class StopPolicy(Spec):
    """How a task is ended."""

    signal: str = ""
    """Sent first. Default: the image's STOPSIGNAL, or SIGTERM."""
    grace_period: Duration = 30.0
    """After this long whatever still runs is killed."""
    drain_delay: Duration | None = None
    """Between leaving every table and the signal. Default: 2s where the service has ports, else 0."""


class NodeLoss(StrEnum):
    """What happens to a task whose node is gone."""

    REPLACE = "replace"
    WAIT = "wait"
    STOP_AFTER = "stopAfter"


class OnNodeLoss(Spec):
    """What happens to a task whose node is gone: `replace`, `wait`, or `{stopAfter: 60s}`.

    With stopAfter the node itself stops the task after that long alone, and only after it has provably stopped is it
    started elsewhere.
    """

    action: NodeLoss = NodeLoss.REPLACE
    """replace, wait or stopAfter."""
    stop_after: Duration = 0.0
    """For stopAfter: how long a node without contact lets the task run."""


class CanaryStep(Spec):
    """One step of a canary: exactly one of nodes, matchLabels, count and percent, and how long to watch."""

    nodes: tuple[str, ...] = ()
    """On exactly these nodes the new revision runs."""
    match_labels: dict[str, str] = Field(default_factory=dict)
    """On exactly the nodes with these labels. Written as nodes: {matchLabels: {ring: canary}}."""
    count: Annotated[int, Field(ge=0)] = 0
    """So many instances."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """So many of a hundred instances."""
    bake: Duration = 0.0
    """How long it must stay well before the next step."""

    @model_validator(mode="after")
    def _exactly_one_choice(self) -> Self:
        chosen = [self.nodes, self.match_labels, self.count, self.percent]
        if sum(1 for choice in chosen if choice) != 1:
            raise ValueError("a canary step needs exactly one of nodes, count and percent")
        return self


class CanaryPolicy(Spec):
    """The new revision first runs on a few; the rest follows only when it did well there."""

    steps: tuple[CanaryStep, ...] = Field(min_length=1)
    """In order; after the last one the rest is rolled."""
    promote: Literal["auto", "manual"] = "auto"
    """auto: when the bake time is over; manual: when `orchctl rollout promote` says so."""


class RolloutPolicy(Spec):
    """How one revision replaces another."""

    max_surge: Amount = "1"
    """Instances above the wanted number while rolling: a number or a percentage (rounded up)."""
    max_unavailable: Amount = "0"
    """Instances that may be missing while rolling: a number or a percentage (rounded down)."""
    min_ready: Duration = 10.0
    """How long a new instance must be ready before it counts."""
    progress_deadline: Duration = 300.0
    """A rollout that gets no instance further for so long has failed."""
    on_failure: Literal["rollback", "pause"] = "rollback"
    """What a failed rollout does."""
    history_limit: Annotated[int, Field(ge=1, le=100)] = 10
    """Old revisions that are kept for `rollout undo`."""
    canary: CanaryPolicy | None = None
    """Steps that come before the rest."""


class PortSpec(Spec):
    """A port that the task listens on, and where it is published."""

    name: Name | Literal[""] = ""
    """For probes and discovery, for example http."""
    target: Annotated[int, Field(ge=1, le=65535)]
    """The port inside."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """The port on the service's virtual address; 0 is the same as inside."""
    published: Annotated[int, Field(ge=0, le=65535)] = 0
    """The port on the nodes; 0 is not published."""
    host_ip: str = ""
    """Publish on this address of the node only."""
    protocol: Literal["tcp", "udp"] = "tcp"
    """tcp or udp."""
    mode: Literal["ingress", "host"] = "ingress"
    """ingress: on every node, led to any ready task; host: only on the node where the task runs, led to that task."""

    @property
    def is_on_host(self) -> bool:
        """The node of each task gives it a port of its own."""
        return self.published > 0 and self.mode == "host"

    @property
    def is_ingress(self) -> bool:
        """Every node listens for the service."""
        return self.published > 0 and self.mode == "ingress"
